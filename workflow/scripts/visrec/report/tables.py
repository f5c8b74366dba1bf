"""The tables of an experiment: every score, the leaderboard, the grids, the layers, and trials side by side.

Choices are made on validation, results are read on test. A trial that diverged or collapsed, or that has not been
evaluated yet ("unfinished"), keeps its rows with that status and NaN, and is chosen only where nothing else is left.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visrec.data.files import atomic, write_text
from visrec.experiment import registry
from visrec.report import comparisons
from visrec.report.draws import (
    GROUP,
    HEADLINE,
    HEADLINE_KNN,
    MACRO,
    SOURCES,
    Draws,
    by_setting,
    folder,
    k_of,
    named,
    resampled,
    score,
    setting,
    words,
)
from visrec.report.verdict import METRICS, duration, missing, percent, span
from visrec.scoring import layers, metrics

TEXT = ["protocol", "metric", "split", "distance", "features", "average", "duplicates", "status"]
SCORES = [*GROUP, "trial", "seed", "evaluator", "protocol", "metric", "split", "k", "distance", "features", "average"]
SCORES += ["duplicates", "value", "low", "high", "n", "chance", "majority", "lift", "status"]
LAYERS = [*GROUP, "trial", *layers.COLUMNS]
ATLAS = [*GROUP, "trial", "seed"]  # in front of the atlas's own columns
NOTHING = dict.fromkeys(("value", "low", "high"), math.nan)
UNFINISHED = "unfinished"
PLAIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>visrec leaderboard</title><style>
body{font:14px/1.5 system-ui,sans-serif;margin:2rem;overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .8rem;text-align:left;border:0;border-bottom:1px solid #ddd;white-space:nowrap}
</style></head><body>
<p>Per dataset, size and encoder: the trial chosen on validation, with its test scores and 95 % intervals.</p>
TABLE
</body></html>
"""


def read_status(results_dir: str | Path, trial: Mapping[str, Any]) -> dict[str, Any]:
    """status.json of a trial; empty for encoders that are neither trained nor fitted."""
    path = folder(results_dir, trial) / "status.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def read_cost(results_dir: str | Path, trial: Mapping[str, Any]) -> dict[str, Any]:
    """embed.json of a trial: what its embedding cost and ran on; empty where there is none."""
    path = folder(results_dir, trial) / "embed.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def benchmark(results_dir: str | Path, rule: str, trial: Mapping[str, Any], evaluator: str = "") -> dict[str, float]:
    """Seconds (`s`) and peak memory in MB (`max_rss`) of a rule, from Snakemake's benchmark file; NaN if unmeasured."""
    path = Path(results_dir) / "benchmarks" / rule / folder("", trial)
    path = path / f"{evaluator}.tsv" if evaluator else path.with_name(f"{path.name}.tsv")
    if not path.exists():
        return {"s": math.nan, "max_rss": math.nan}
    table = pd.read_csv(path, sep="\t")
    return {key: float(pd.to_numeric(table[key], errors="coerce").mean()) for key in ("s", "max_rss")}


def read_scores(results_dir: str | Path, trials: Iterable[Mapping], evaluators: Iterable[str]) -> pd.DataFrame:
    """All scores of all trials with lift = (value - chance) / (1 - chance), where 1 is perfect; columns `SCORES`."""
    parts = []
    for trial in trials:
        for evaluator in evaluators:
            path = folder(results_dir, trial) / f"{evaluator}.csv"
            if path.exists():
                about = {key: trial[key] for key in (*GROUP, "trial", "seed")} | {"evaluator": evaluator}
                table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str))
                parts.append(table.fillna(dict.fromkeys(TEXT, "")).assign(**about))
    scores = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SCORES)
    numbers = ["value", "low", "high", "chance", "majority"]
    scores[numbers] = scores[numbers].astype(float)
    scores["k"] = scores["k"].astype("Int64")
    scores["lift"] = metrics.lift(scores["value"], scores["chance"].mask(scores["metric"].isin(metrics.unbounded())))
    return scores[SCORES]


def headline_k(scores: pd.DataFrame) -> int:
    """The k of the headline precision: the knn evaluator's HEADLINE_K, or the least k measured if that one was not.

    What other protocols measured at their own k does not count.
    """
    preferred = registry.declared("evaluators", "knn")["HEADLINE_K"]
    wanted = HEADLINE | HEADLINE_KNN | {"evaluator": "knn", "metric": "precision"}
    measured = scores.loc[_matching(scores, wanted), "k"].dropna().unique()
    return int(preferred if preferred in measured or len(measured) == 0 else min(measured))


def headline(scores: pd.DataFrame, name: str, split: str, k: int) -> pd.DataFrame:
    """The rows of scores.csv that a column of the leaderboard is made of: one per trial that has it.

    Args:
        scores: rows of scores.csv.
        name: the column: a key of `SOURCES`, or "macro_precision".
        split: "train", "val" or "test".
        k: the headline's number of neighbours.
    """
    evaluator, metric = SOURCES["precision" if name == MACRO else name]
    wanted = HEADLINE | (HEADLINE_KNN if evaluator == "knn" else {}) | ({"average": "macro"} if name == MACRO else {})
    wanted |= {"evaluator": evaluator, "metric": metric, "split": split}
    rows = scores[_matching(scores, wanted)]
    at = k_of("precision" if name == MACRO else name, k)
    return rows[rows["k"].isna()] if at is None else rows[rows["k"] == at]


def _matching(rows: pd.DataFrame, wanted: Mapping[str, str]) -> np.ndarray:
    """Which rows have all of these values, bool (rows,)."""
    return np.logical_and.reduce([rows[key] == value for key, value in wanted.items()])


def statuses(
    results_dir: str | Path, trials: Iterable[Mapping], scores: pd.DataFrame, evaluators: Sequence[str]
) -> dict:
    """(status, reason) of each trial, by (dataset, size, encoder, trial)."""
    found = {}
    scored = dict(iter(scores.groupby([*GROUP, "trial"], sort=False)))
    for trial in trials:
        key = tuple(trial[part] for part in (*GROUP, "trial"))
        about = read_status(results_dir, trial)
        rows = scored.get(key)
        missing = [name for name in evaluators if rows is None or name not in set(rows["evaluator"])]
        if about.get("status", "ok") != "ok":
            found[key] = about["status"], about.get("reason", "")
        elif rows is not None and (rows["status"] != "ok").all():  # one evaluator without a score spoils no other
            found[key] = rows["status"].iloc[0], ""
        elif missing:
            found[key] = UNFINISHED, f"not evaluated yet: {', '.join(missing)}"
        else:
            found[key] = "ok", ""
    return found


def _grouped(trials: Iterable[Mapping]) -> dict[tuple, list[Mapping]]:
    groups: dict[tuple, list[Mapping]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial[key] for key in GROUP), []).append(trial)
    return groups


def _choose(
    trials: Sequence[Mapping], scores: pd.DataFrame, status: Mapping[tuple, tuple[str, str]], k: int
) -> tuple[list[Mapping], str]:
    """Of one (dataset, size, encoder), the seeds of the setting best on validation, and what it was chosen by."""
    good = [trial for trial in trials if _state(status, trial)[0] == "ok"]
    candidates = list(by_setting(good or trials).values())
    for name in SOURCES if len(candidates) > 1 else ():
        found = headline(scores, name, "val", k)
        values = [found.loc[found["trial"].isin(_names(members)), "value"].mean() for members in candidates]
        if np.isfinite(values).any():
            # Of equals, the first in the config wins.
            return candidates[int(np.nanargmax(values))], f"validation {METRICS[name].format(k=k)}"
    return candidates[0], ""


def _state(status: Mapping[tuple, tuple[str, str]], trial: Mapping[str, Any]) -> tuple[str, str]:
    return status[tuple(trial[part] for part in (*GROUP, "trial"))]


def _names(trials: Iterable[Mapping]) -> list[str]:
    return [trial["trial"] for trial in trials]


def _leader(
    results_dir: str | Path,
    trials: Sequence[Mapping],
    chosen: Sequence[Mapping],
    scores: pd.DataFrame,
    status: Mapping[tuple, tuple[str, str]],
    k: int,
    draws: Mapping[str, Draws],
) -> dict[str, Any]:
    """The leaderboard's row of one (dataset, size, encoder): its chosen setting, read on test.

    Args:
        results_dir: results/{experiment}.
        trials: all trials of the group.
        chosen: the seeds of the chosen setting.
        scores: the group's rows of scores.csv.
        status: of all trials.
        k: the headline's number of neighbours.
        draws: "val" and "test" -> the resampled scores of the dataset and size.
    """
    good = [trial for trial in trials if _state(status, trial)[0] == "ok"]
    shown = chosen[0]
    stage = shown["stage"]
    own = scores[scores["trial"].isin(_names(chosen))]
    row: dict[str, Any] = {
        **{key: shown[key] for key in GROUP},
        "trial": shown["trial"],
        "setting": words(shown),
        "seed": shown["seed"],
        "n_seeds": len(chosen) if good else 0,
        "seeds": sum(setting(trial) == setting(shown) for trial in trials),
        "settings": len(by_setting(trials)),
        "trials": len(trials),
        "trials_ok": len(good),
        "status": _state(status, shown)[0],
        "reason": _state(status, shown)[1],
        "k": k,
    }
    for split, prefix in (("val", "val_"), ("test", "")):
        for name in (*SOURCES, *([MACRO] if split == "test" else [])):
            one = score(draws[split], chosen, name)
            row |= _named_columns(f"{prefix}{name}", one)
            if split == "test":
                found = headline(own, name, "test", k)
                chance = found["chance"].iloc[0] if len(found) else math.nan
                row |= {f"{name}_chance": chance, f"{name}_lift": float(metrics.lift(one["value"], chance))}
    majority = pd.concat([headline(own, name, "test", k) for name in ("svm_accuracy", "knn_accuracy")])["majority"]
    majority = majority.dropna()
    queries = headline(own, "precision", "test", k)["n"].dropna()
    row["majority"] = majority.iloc[0] if len(majority) else math.nan
    row["queries"] = int(queries.iloc[0]) if len(queries) else 0
    costs = [benchmark(results_dir, stage, trial)["s"] for trial in chosen] if stage else [0.0]
    row["cost_seconds"] = float(np.mean(costs))
    return row | _cost(results_dir, chosen)


def _cost(results_dir: str | Path, trials: Sequence[Mapping]) -> dict[str, float]:
    """Speed of embedding, mean over the trials, and the greatest peaks of memory in MB; NaN where not measured."""
    embedded = [read_cost(results_dir, trial) for trial in trials]
    stages = [(stage, trial) for trial in trials for stage in (trial["stage"], "embed") if stage]
    told = [read_status(results_dir, trial) for trial in trials]
    return {
        "embed_images_per_second": summary_of_known(np.mean, (one.get("images_per_second") for one in embedded)),
        "peak_memory_mb": summary_of_known(
            max, (benchmark(results_dir, stage, trial)["max_rss"] for stage, trial in stages)
        ),
        "peak_gpu_memory_mb": summary_of_known(max, (one.get("gpu_memory_mb") for one in (*embedded, *told))),
    }


def summary_of_known(how: Callable[[list[float]], float], values: Iterable[float | None]) -> float:
    """A summary of the values that are there; NaN if there are none."""
    there = [float(value) for value in values if not missing(value)]
    return float(how(there)) if there else math.nan


def _named_columns(name: str, one: Mapping[str, float]) -> dict[str, float]:
    """A value and its limits as columns: name, name_low, name_high."""
    return {name: one["value"], f"{name}_low": one["low"], f"{name}_high": one["high"]}


def _layers(results_dir: str | Path, trials: Iterable[Mapping]) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=LAYERS)]
    for trial in trials:
        path = folder(results_dir, trial) / "layers.csv"
        if path.exists():
            parts.append(pd.read_csv(path).assign(**{key: trial[key] for key in (*GROUP, "trial")}))
    return pd.concat(parts, ignore_index=True)[LAYERS]


def _atlas(results_dir: str | Path, trials: Iterable[Mapping]) -> pd.DataFrame:
    """The atlases of all trials that have one, one below the other."""
    parts = []
    for trial in trials:
        path = folder(results_dir, trial) / "atlas.csv"
        if trial["atlas"] and path.exists():
            table = pd.read_csv(path)
            parts.append(table.assign(**{key: trial[key] for key in ATLAS})[[*ATLAS, *table]])
    filled = [part for part in parts if len(part)]  # empty ones would make whole numbers floats
    return pd.concat(filled, ignore_index=True) if filled else (parts[0] if parts else pd.DataFrame(columns=ATLAS))


def _grid(
    trials: Iterable[Mapping],
    scores: pd.DataFrame,
    status: Mapping,
    chosen: Mapping[tuple, Sequence[Mapping]],
    val: Mapping[tuple, Draws],
    k: int,
) -> pd.DataFrame:
    """One row per trial of the encoders that are trained or have a grid: hyper-parameters, scores, status, chosen.

    `beside_chosen` says whether the setting's validation precision, over its seeds, is better or worse than that of the
    chosen setting; it is empty for the chosen one and where nothing was scored.
    """
    rows, options = [], {}
    for group, members in _grouped(trials).items():
        if not any(trial["grid"] or trial["stage"] == "train" for trial in members):
            continue
        own = scores[(scores[GROUP] == list(group)).all(axis=1)]
        picked = {
            (split, name): headline(own, name, split, k).set_index("trial")
            for split in ("val", "test")
            for name in SOURCES
        }
        good = [trial for trial in members if _state(status, trial)[0] == "ok"]
        best = setting(chosen[group][0])
        beside = {
            text: comparisons.difference(val[group[:2]], seeds, chosen[group], "precision")["word"]
            for text, seeds in by_setting(good).items()
            if text != best
        }
        for trial in members:
            state, reason = _state(status, trial)
            values = {key: trial["options"][key] for key in named(trial)}
            options |= values
            row = {**{key: trial[key] for key in (*GROUP, "trial", "seed")}, **values}
            for split, prefix in (("val", "val_"), ("test", "")):
                for name in SOURCES:
                    found = picked[split, name]
                    scored = state == "ok" and trial["trial"] in found.index
                    row |= _named_columns(f"{prefix}{name}", found.loc[trial["trial"]] if scored else NOTHING)
            row |= {"status": state, "reason": reason, "chosen": setting(trial) == best}
            rows.append(row | {"beside_chosen": beside.get(setting(trial), "") if state == "ok" else ""})
    scored = [f"{p}{name}{end}" for p in ("val_", "") for name in SOURCES for end in ("", "_low", "_high")]
    columns = [*GROUP, "trial", "seed", *options, *scored, "status", "reason", "chosen", "beside_chosen"]
    return pd.DataFrame(rows, columns=columns)


def _plain(leaders: pd.DataFrame) -> str:
    """The leaderboard as a plain HTML table, escaped."""
    table = leaders[[*GROUP, "setting"]].copy()
    for name, template in METRICS.items():
        heading = template.format(k=leaders["k"].iloc[0] if len(leaders) else 3)
        table[heading] = [
            f"{percent(value)} {span(low, high)}".strip()
            for value, low, high in zip(leaders[name], leaders[f"{name}_low"], leaders[f"{name}_high"], strict=True)
        ]
    table["chance"] = leaders["precision_chance"].map(percent)
    table["majority"] = leaders["majority"].map(percent)
    table["lift"] = leaders["precision_lift"].map(percent)
    table["dimensions"] = leaders["dimensions"]
    table["training or fitting"] = leaders["cost_seconds"].map(duration)
    table["embedding, images/s"] = leaders["embed_images_per_second"].map("{:.0f}".format, na_action="ignore")
    table["peak memory, MB"] = leaders["peak_memory_mb"].map("{:.0f}".format, na_action="ignore")
    table["status"] = leaders["status"]
    return PLAIN.replace("TABLE", table.to_html(index=False, border=0, escape=True))


def _write_csv(table: pd.DataFrame, path: str | Path) -> None:
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def tables(
    results_dir: str | Path, trials: Sequence[Mapping], evaluators: Sequence[str], out: Mapping[str, str | Path]
) -> None:
    """Write the tables.

    Args:
        results_dir: results/{experiment}.
        trials: dicts with dataset, size, encoder, trial, seed, options, headline, grid (every axis of its encoder's),
            axes (of the one grid in a list that gave it), stage and atlas (whether it has an atlas.csv).
        evaluators: names of the evaluators whose csv and h5 files to gather.
        out: the keys of `visrec.report.TABLES` -> path.

    Raises:
        UserError: a file of query scores or lists is missing, damaged or of other images than the rest.
    """
    scores = read_scores(results_dir, trials, evaluators)
    status = statuses(results_dir, trials, scores, evaluators)
    k = headline_k(scores)
    layers = _layers(results_dir, trials)

    groups = _grouped(trials)
    of_group = {group: scores[(scores[GROUP] == list(group)).all(axis=1)] for group in groups}
    chosen, chosen_by = {}, {}
    for group, members in groups.items():
        chosen[group], chosen_by[group] = _choose(members, of_group[group], status, k)

    places = list(dict.fromkeys(group[:2] for group in groups))
    good = [trial for trial in trials if _state(status, trial)[0] == "ok"]
    draws: dict[str, dict[tuple, Draws]] = {"val": {}, "test": {}}
    for split, place in itertools.product(draws, places):
        here = [trial for trial in good if (trial["dataset"], trial["size"]) == place]
        draws[split][place] = resampled(results_dir, here, evaluators, split, k)

    leaders = []
    for group, members in groups.items():
        here = {split: found[group[:2]] for split, found in draws.items()}
        row = _leader(results_dir, members, chosen[group], of_group[group], status, k, here)
        own = layers[(layers[[*GROUP, "trial"]] == [*group, row["trial"]]).all(axis=1)]
        leaders.append(row | {"chosen_by": chosen_by[group], "dimensions": int(own["dimensions"].sum())})
    leaderboard = pd.DataFrame(leaders)
    leaderboard["place"] = [places.index(group[:2]) for group in groups]
    leaderboard = leaderboard.sort_values(["place", "precision"], ascending=[True, False], kind="stable").drop(
        columns="place"
    )

    ranked: dict[tuple, dict[str, Sequence[Mapping]]] = {place: {} for place in places}
    for dataset, size, encoder in leaderboard[GROUP].itertuples(index=False):
        ranked[dataset, size][encoder] = chosen[dataset, size, encoder]
    pairs, selected, overlaps = [], [], []
    for place in places:
        pairs += comparisons.compare(draws["test"][place], ranked[place], k)
    for group, members in _grouped(good).items():
        here = draws["val"][group[:2]], draws["test"][group[:2]]
        selected += comparisons.selection(results_dir, members, *here)
        overlaps += comparisons.overlap(results_dir, members) if "knn" in evaluators else []

    _write_csv(scores, out["scores"])
    _write_csv(leaderboard, out["leaderboard"])
    write_text(out["leaderboard_html"], _plain(leaderboard))
    _write_csv(_grid(trials, scores, status, chosen, draws["val"], k), out["grid"])
    _write_csv(layers, out["layers"])
    _write_csv(pd.DataFrame(pairs, columns=comparisons.COMPARISONS).astype({"k": "Int64"}), out["comparisons"])
    _write_csv(comparisons.overall(draws["test"], ranked), out["overall"])
    _write_csv(pd.DataFrame(selected, columns=comparisons.SELECTION), out["selection"])
    _write_csv(pd.DataFrame(overlaps, columns=comparisons.OVERLAP), out["overlap"])
    _write_csv(_atlas(results_dir, trials), out["atlas"])
