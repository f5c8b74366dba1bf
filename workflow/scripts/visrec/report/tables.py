"""The tables of an experiment: every score, the leaderboard, the grids and the layers.

Choices are made on validation, results are read on test. A trial that diverged or collapsed, or that has not been
evaluated yet ("unfinished"), keeps its rows with that status and NaN, and is chosen only where nothing else is left.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from visrec import layers, metrics, registry, store
from visrec.report.verdict import METRICS, duration, percent, span

GROUP = ["dataset", "size", "encoder"]
SCORES = [*GROUP, "trial", "seed", "evaluator", "metric", "split", "k"]
SCORES += ["value", "low", "high", "n", "chance", "majority", "lift", "status"]
LAYERS = [*GROUP, "trial", *layers.COLUMNS]
# column of the leaderboard: (evaluator, metric)
SOURCES = {"precision": ("knn", "precision"), "knn_accuracy": ("knn", "accuracy"), "svm_accuracy": ("svm", "accuracy")}
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


def folder(results_dir: str | Path, trial: Mapping[str, Any]) -> Path:
    """A trial's folder."""
    return Path(results_dir) / trial["dataset"] / f"{trial['size']}px" / trial["encoder"] / trial["trial"]


def setting(trial: Mapping[str, Any]) -> str:
    """What seeds of one setting have in common: the options, as text."""
    return json.dumps(trial["options"], sort_keys=True)


def read_status(results_dir: str | Path, trial: Mapping[str, Any]) -> dict[str, Any]:
    """status.json of a trial; empty for encoders that are neither trained nor fitted."""
    path = folder(results_dir, trial) / "status.json"
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
    """All scores of all trials with lift = (value - chance) / (1 - chance); columns `SCORES`."""
    parts = []
    for trial in trials:
        for evaluator in evaluators:
            path = folder(results_dir, trial) / f"{evaluator}.csv"
            if path.exists():
                about = {key: trial[key] for key in (*GROUP, "trial", "seed")} | {"evaluator": evaluator}
                parts.append(pd.read_csv(path).assign(**about))
    scores = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SCORES)
    numbers = ["value", "low", "high", "chance", "majority"]
    scores[numbers] = scores[numbers].astype(float)
    scores["k"] = scores["k"].astype("Int64")
    scores["lift"] = metrics.lift(scores["value"], scores["chance"])
    return scores[SCORES]


def over_seeds(rows: pd.DataFrame) -> dict[str, float]:
    """Mean over seeds of `value`, with an interval `low`, `high` over queries and seeds.

    With one seed the interval is its own, over queries. With n seeds its half-width, to either side, is
    sqrt(q^2 + (t s / sqrt(n))^2): q the mean half-width over queries (all seeds share the queries, so it does not
    shrink with n), s the standard deviation of the seeds, t the 97.5 % quantile of Student's t with n - 1 degrees of
    freedom.
    """
    rows = rows[rows["value"].notna()]  # a seed whose solver did not converge leaves the others
    values = rows["value"].to_numpy(float)
    if len(values) == 0:
        return dict.fromkeys(("value", "low", "high"), math.nan)
    value, low, high = values.mean(), rows["low"].mean(), rows["high"].mean()
    if len(values) > 1:
        seeds = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
        low, high = value - math.hypot(value - low, seeds), value + math.hypot(high - value, seeds)
    return {"value": float(value), "low": float(max(low, 0.0)), "high": float(min(high, 1.0))}


def headline_k(scores: pd.DataFrame) -> int:
    """The k of the headline precision: the knn evaluator's HEADLINE_K, or the least k measured if that one was not."""
    preferred = registry.declared("evaluators", "knn")["HEADLINE_K"]
    measured = scores.loc[(scores["evaluator"] == "knn") & (scores["metric"] == "precision"), "k"].dropna().unique()
    return int(preferred if preferred in measured or len(measured) == 0 else min(measured))


def _pick(scores: pd.DataFrame, name: str, split: str, k: int) -> pd.DataFrame:
    evaluator, metric = SOURCES[name]
    rows = scores[(scores["evaluator"] == evaluator) & (scores["metric"] == metric) & (scores["split"] == split)]
    return rows[rows["k"] == k] if evaluator == "knn" else rows[rows["k"].isna()]


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


def _leader(
    results_dir: str | Path,
    trials: Sequence[Mapping],
    scores: pd.DataFrame,
    status: Mapping[tuple, tuple[str, str]],
    k: int,
) -> dict[str, Any]:
    """The leaderboard's row of one (dataset, size, encoder): its setting best on validation, read on test."""
    group = tuple(trials[0][key] for key in GROUP)
    good = [trial for trial in trials if status[(*group, trial["trial"])][0] == "ok"]
    by_setting: dict[str, list[Mapping]] = {}
    for trial in sorted(good or trials, key=lambda trial: trial["seed"]):
        by_setting.setdefault(setting(trial), []).append(trial)
    # Back in the order of the config: the first of equals wins.
    order = list(dict.fromkeys(setting(trial) for trial in trials))
    candidates = [by_setting[key] for key in order if key in by_setting]

    def rows(name: str, split: str, members: Sequence[Mapping]) -> pd.DataFrame:
        return _pick(scores[scores["trial"].isin([trial["trial"] for trial in members])], name, split, k)

    chosen, chosen_by = candidates[0], ""
    for name in SOURCES:
        values = [over_seeds(rows(name, "val", members))["value"] for members in candidates]
        if len(candidates) > 1 and np.isfinite(values).any():
            chosen, chosen_by = candidates[int(np.nanargmax(values))], f"validation {METRICS[name].format(k=k)}"
            break
    shown = chosen[0]
    stage = shown["stage"]
    row: dict[str, Any] = {
        **dict(zip(GROUP, group, strict=True)),
        "trial": shown["trial"],
        "setting": ", ".join(f"{key} {shown['options'][key]}" for key in _named(shown)),
        "seed": shown["seed"],
        "n_seeds": len(chosen) if good else 0,
        "seeds": sum(setting(trial) == setting(shown) for trial in trials),
        "settings": len(order),
        "trials": len(trials),
        "trials_ok": len(good),
        "chosen_by": chosen_by,
        "status": status[(*group, shown["trial"])][0],
        "reason": status[(*group, shown["trial"])][1],
        "k": k,
    }
    for split, prefix in (("val", "val_"), ("test", "")):
        for name in SOURCES:
            found = rows(name, split, chosen)
            one = over_seeds(found if good else found.iloc[:0])
            row |= {
                f"{prefix}{name}": one["value"],
                f"{prefix}{name}_low": one["low"],
                f"{prefix}{name}_high": one["high"],
            }
            if split == "test":
                chance = found["chance"].iloc[0] if len(found) else math.nan
                row |= {f"{name}_chance": chance, f"{name}_lift": float(metrics.lift(one["value"], chance))}
    majority = pd.concat([rows("svm_accuracy", "test", chosen), rows("knn_accuracy", "test", chosen)])[
        "majority"
    ].dropna()
    queries = rows("precision", "test", chosen)["n"].dropna()
    row["majority"] = majority.iloc[0] if len(majority) else math.nan
    row["queries"] = int(queries.iloc[0]) if len(queries) else 0
    costs = [benchmark(results_dir, stage, trial)["s"] for trial in chosen] if stage else [0.0]
    row["cost_seconds"] = float(np.mean(costs))
    return row


def _named(trial: Mapping[str, Any]) -> list[str]:
    """The options that say which trial of its encoder this is: headline keys, then the other axes of the grid."""
    return list(dict.fromkeys([*trial["headline"], *trial["grid"]]))


def _layers(results_dir: str | Path, trials: Iterable[Mapping]) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=LAYERS)]
    for trial in trials:
        path = folder(results_dir, trial) / "layers.csv"
        if path.exists():
            parts.append(pd.read_csv(path).assign(**{key: trial[key] for key in (*GROUP, "trial")}))
    return pd.concat(parts, ignore_index=True)[LAYERS]


def _grid(
    trials: Iterable[Mapping], scores: pd.DataFrame, status: Mapping, leaders: pd.DataFrame, k: int
) -> pd.DataFrame:
    """One row per trial of the encoders that are trained or have a grid: hyper-parameters, scores, status, chosen."""
    rows, named = [], {}
    for group, members in _grouped(trials).items():
        if not any(trial["grid"] or trial["stage"] == "train" for trial in members):
            continue
        leader = leaders[(leaders[GROUP] == list(group)).all(axis=1)].iloc[0]
        chosen = next(setting(trial) for trial in members if trial["trial"] == leader["trial"])
        for trial in members:
            here = status[(*group, trial["trial"])]
            own = scores[(scores[[*GROUP, "trial"]] == [*group, trial["trial"]]).all(axis=1)]
            options = {key: trial["options"][key] for key in _named(trial)}
            named |= options
            row = {**dict(zip(GROUP, group, strict=True)), "trial": trial["trial"], "seed": trial["seed"], **options}
            for split, prefix in (("val", "val_"), ("test", "")):
                for name in SOURCES:
                    found = _pick(own, name, split, k)
                    for column, value in over_seeds(found if here[0] == "ok" else found.iloc[:0]).items():
                        row[f"{prefix}{name}" + ("" if column == "value" else f"_{column}")] = value
            rows.append(row | {"status": here[0], "reason": here[1], "chosen": setting(trial) == chosen})
    scored = [f"{p}{name}{end}" for p in ("val_", "") for name in SOURCES for end in ("", "_low", "_high")]
    columns = [*GROUP, "trial", "seed", *named, *scored, "status", "reason", "chosen"]
    return pd.DataFrame(rows, columns=columns)


def _plain(leaders: pd.DataFrame) -> str:
    """The leaderboard as a plain HTML table, escaped."""
    table = leaders[[*GROUP, "setting"]].copy()
    for name, words in METRICS.items():
        heading = words.format(k=leaders["k"].iloc[0] if len(leaders) else 3)
        table[heading] = [
            f"{percent(value)} {span(low, high)}".strip()
            for value, low, high in zip(leaders[name], leaders[f"{name}_low"], leaders[f"{name}_high"], strict=True)
        ]
    table["chance"] = leaders["precision_chance"].map(percent)
    table["majority"] = leaders["majority"].map(percent)
    table["lift"] = leaders["precision_lift"].map(percent)
    table["dimensions"] = leaders["dimensions"]
    table["cost"] = leaders["cost_seconds"].map(duration)
    table["status"] = leaders["status"]
    return PLAIN.replace("TABLE", table.to_html(index=False, border=0, escape=True))


def _write_csv(table: pd.DataFrame, path: str | Path) -> None:
    with store.atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def tables(
    results_dir: str | Path, trials: Sequence[Mapping], evaluators: Sequence[str], out: Mapping[str, str | Path]
) -> None:
    """Write the tables.

    Args:
        results_dir: results/{experiment}.
        trials: dicts with dataset, size, encoder, trial, seed, options, headline, grid and stage.
        evaluators: names of the evaluators whose csv files to gather.
        out: the keys of `visrec.report.TABLES` -> path.
    """
    scores = read_scores(results_dir, trials, evaluators)
    status = statuses(results_dir, trials, scores, evaluators)
    k = headline_k(scores)
    layers = _layers(results_dir, trials)
    leaders = []
    for group, members in _grouped(trials).items():
        row = _leader(results_dir, members, scores[(scores[GROUP] == list(group)).all(axis=1)], status, k)
        own = layers[(layers[[*GROUP, "trial"]] == [*group, row["trial"]]).all(axis=1)]
        leaders.append(row | {"dimensions": int(own["dimensions"].sum())})
    leaderboard = pd.DataFrame(leaders)
    place = {
        pair: number for number, pair in enumerate(dict.fromkeys((row["dataset"], row["size"]) for row in leaders))
    }
    leaderboard["place"] = [place[pair] for pair in zip(leaderboard["dataset"], leaderboard["size"], strict=True)]
    leaderboard = leaderboard.sort_values(["place", "precision"], ascending=[True, False], kind="stable").drop(
        columns="place"
    )

    _write_csv(scores, out["scores"])
    _write_csv(leaderboard, out["leaderboard"])
    store.write_text(out["leaderboard_html"], _plain(leaderboard))
    _write_csv(_grid(trials, scores, status, leaderboard, k), out["grid"])
    _write_csv(layers, out["layers"])
