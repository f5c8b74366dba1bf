"""The tables of an experiment: every score, the leaderboard, the grids, the layers, and trials side by side.

Choices are made on validation, results are read on test. A trial that diverged or collapsed, or that has not been
evaluated yet ("unfinished"), keeps its rows with that status and NaN, and is chosen only where nothing else is left.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from visrec.data.csv_files import as_text
from visrec.data.files import atomic, write_text
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report import best_spaces, comparisons
from visrec.report.headline import GROUP, SOURCES
from visrec.report.inputs import columns_of, disclosures, read_atlas
from visrec.report.leaders import Group, Measured, grouped, headline, leaderboard, limits, measure
from visrec.report.per_class import CLASSES, CONFUSION, confusion, per_class
from visrec.report.settings import by_setting, setting, varied
from visrec.report.verdict import METRICS, duration, named, percent, span

NOTHING = dict.fromkeys(("value", "low", "high"), math.nan)
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


def _grid(measured: Measured) -> pd.DataFrame:
    """One row per trial of the encoders that are trained or have a grid: hyper-parameters, scores, status, chosen.

    `beside_chosen` says whether the setting's validation precision, over its seeds, is better or worse than that of the
    chosen setting; it is empty for the chosen one and where nothing was scored.
    """
    rows: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    for group, members in grouped(measured.experiment.trials).items():
        if any(trial.grid or trial.stage == "train" for trial in members):
            rows += _grid_rows(measured, group, members)
            options |= dict.fromkeys(key for trial in members for key in varied(trial))
    scored = [f"{p}{name}{end}" for p in ("val_", "") for name in SOURCES for end in ("", "_low", "_high")]
    columns = [*GROUP, "trial", "seed", *options, *scored, "status", "reason", "chosen", "beside_chosen"]
    return pd.DataFrame(rows, columns=columns)


def _grid_rows(measured: Measured, group: Group, members: Sequence[Trial]) -> list[dict[str, Any]]:
    """The rows of `_grid` of one group."""
    own, chosen = measured.scores_of(group), measured.chosen[group]
    picked = {
        (split, name): headline(own, name, split, measured.k).set_index("trial")
        for split in ("val", "test")
        for name in SOURCES
    }
    best = setting(chosen[0])
    others = {text: seeds for text, seeds in by_setting(measured.good(members)).items() if text != best}
    judged = comparisons.differences(
        measured.draws["val"][group[:2]], [(seeds, chosen) for seeds in others.values()], "precision"
    )
    beside = {text: one["word"] for text, one in zip(others, judged, strict=True)}
    rows = []
    for trial in members:
        state = measured.states[trial.folder]
        row = columns_of(trial, [*GROUP, "trial", "seed"]) | {key: trial.options[key] for key in varied(trial)}
        for split, prefix in (("val", "val_"), ("test", "")):
            for name in SOURCES:
                found = picked[split, name]
                scored = state.scored and trial.name in found.index
                row |= limits(f"{prefix}{name}", found.loc[trial.name] if scored else NOTHING)
        row |= {"status": state.status, "reason": state.reason, "chosen": setting(trial) == best}
        rows.append(row | {"beside_chosen": beside.get(setting(trial), "") if state.scored else ""})
    return rows


def _plain(leaders: pd.DataFrame, disclosed: Mapping[str, str]) -> str:
    """The leaderboard as a plain HTML table, escaped; `disclosed` stands behind the encoders' names."""
    table = leaders[[*GROUP, "setting"]].copy()
    table["encoder"] = [named(encoder, disclosed) for encoder in table["encoder"]]
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


def _write_csv(table: pd.DataFrame, path: str | Path, words: Sequence[str] = ()) -> None:
    """Write a table; `words` are the columns of a user's words."""
    table = table.assign(**{name: table[name].map(as_text) for name in words})
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def tables(experiment: Experiment, out: Mapping[str, str | Path]) -> None:
    """Write the tables.

    Args:
        experiment: with all trials to be reported on.
        out: the keys of `visrec.report.TABLES` -> path.

    Raises:
        UserError: a file of query scores or lists is missing, damaged or of other images than the rest.
    """
    measured = measure(experiment)
    leaders = leaderboard(measured)
    test = measured.draws["test"]

    ranked: dict[tuple[str, int], dict[str, Sequence[Trial]]] = {key: {} for key in test}
    for dataset, size, encoder in leaders[GROUP].itertuples(index=False):
        ranked[dataset, size][encoder] = measured.chosen[dataset, size, encoder]
    pairs, spaces, selected, overlaps, classes, confusions = [], [], [], [], [], []
    for key, chosen in ranked.items():
        pairs += comparisons.compare(test[key], chosen, measured.k)
        good = {encoder: measured.good(seeds) for encoder, seeds in chosen.items()}
        if "knn" not in experiment.evaluators:
            continue
        here = measured.scores[(measured.scores[GROUP[:2]] == list(key)).all(axis=1)]
        spaces += best_spaces.spaces(experiment, good, here, measured.k)
        for members in good.values():
            classes += per_class(experiment, members, measured.k)
            confusions += confusion(experiment, members, measured.k)
    for group, members in grouped(measured.good(experiment.trials)).items():
        here = experiment.of(members)
        selected += comparisons.selection(here, measured.draws["val"][group[:2]], test[group[:2]])
        overlaps += comparisons.overlap(here) if "knn" in experiment.evaluators else []

    _write_csv(measured.scores, out["scores"])
    _write_csv(leaders, out["leaderboard"])
    write_text(out["leaderboard_html"], _plain(leaders, disclosures(experiment.trials)))
    _write_csv(_grid(measured), out["grid"])
    _write_csv(measured.layers, out["layers"])
    _write_csv(pd.DataFrame(pairs, columns=comparisons.COMPARISONS).astype({"k": "Int64"}), out["comparisons"])
    _write_csv(pd.DataFrame(spaces, columns=best_spaces.COLUMNS), out["spaces"])
    _write_csv(comparisons.overall(test, ranked), out["overall"])
    _write_csv(comparisons.overall_pairs(test, ranked), out["overall_pairs"])
    _write_csv(pd.DataFrame(selected, columns=comparisons.SELECTION), out["selection"])
    _write_csv(pd.DataFrame(overlaps, columns=comparisons.OVERLAP), out["overlap"])
    _write_csv(read_atlas(experiment), out["atlas"])
    _write_csv(pd.DataFrame(classes, columns=CLASSES), out["classes"], ["class"])
    _write_csv(pd.DataFrame(confusions, columns=CONFUSION), out["confusion"], ["class", "recommended"])
