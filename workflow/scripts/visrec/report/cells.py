"""The cells of a grid: which setting stands where in one encoder's table of settings, for the heat map and the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.experiment.trials import Trial
from visrec.report.settings import describe_options, setting
from visrec.report.verdict import BETTER, NOT_RESOLVED, WORSE, percent

AS_IS = "nothing changed"  # a grid that sets nothing, {}
ABSENT = "no result"  # a pair that was not tried, or whose trials have not ended
PAIRED = "val_precision"  # of which grid.csv has the paired comparison with the chosen
SETTINGS = 40  # rows that a figure has room for, setting by setting


def axes_shown(trials: Sequence[Trial]) -> list[str]:
    """The axes of one encoder's heat map: two at most, those that vary before those that do not.

    None where more than two vary and not all combinations were tried, as where one option is changed at a time: one
    cell would show the best of many settings, the next a single one.
    """
    axes = list(dict.fromkeys(axis for trial in trials for axis in trial.grid))
    values = {axis: {trial.options[axis] for trial in trials} for axis in axes}
    varied = [axis for axis in axes if len(values[axis]) > 1]
    tried = {tuple(trial.options[axis] for axis in varied) for trial in trials}
    if len(varied) > 2 and len(tried) < math.prod(len(values[axis]) for axis in varied):
        return []
    first = sorted(axes, key=lambda axis: axis not in varied)[:2]
    return [axis for axis in axes if axis in first]


def placed(rows: pd.DataFrame, trials: Sequence[Trial]) -> pd.DataFrame:
    """Rows of grid.csv of one encoder, dataset and size, with their `setting` and its place: `y` down, `x` across.

    A place has several settings where the grid has more axes than are shown.
    """
    axes = axes_shown(trials)
    rows = rows.assign(setting=rows["trial"].map({trial.name: setting(trial) for trial in trials}))
    if axes:  # not grid.csv's columns: they are empty for other encoders, which makes 8.0 of 8
        places = [{trial.name: trial.options[axis] for trial in trials} for axis in axes]
        return rows.assign(x=rows["trial"].map(places[0]), y=rows["trial"].map(places[1]) if len(places) > 1 else "")
    changes = {trial.name: describe_options(trial, trial.axes) or AS_IS for trial in trials}
    return rows.assign(x="", y=rows["trial"].map(changes))


def cells(
    rows: pd.DataFrame,
    trials: Sequence[Trial],
    column: str = "val_precision",
    letters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The cells of one encoder's heat map; without axes to show, every setting has a row, in the config's order.

    Args:
        rows: the encoder's rows of grid.csv, of one dataset and size.
        trials: its trials.
        column: of grid.csv, that `value` is of.
        letters: trial's name -> letters to write into its cell.

    Returns:
        `axes`: the axes shown. Frames, the second axis down, the first across: `value`; `state`, why there is no value,
        else ""; `chosen`; `beside`, "better", "worse" or "not resolved" of the chosen, "" where nothing is said;
        `marks`, "chosen", letters and "unstable"; `words`, the text of the cell.
    """
    axes = axes_shown(trials)
    across, down = (*axes, "", "")[:2]
    rows = placed(rows, trials)
    value, state, marks, chosen, beside = {}, {}, {}, {}, {}
    limits = [] if column == PAIRED else [f"{column}_low", f"{column}_high"]
    of_chosen = rows.loc[rows["chosen"] & rows[column].notna(), limits].mean()
    for place, cell in rows.groupby(["y", "x"], sort=bool(axes)):
        mean = cell.groupby("setting")[column].mean()
        ended = bool(mean.notna().any())
        best = cell[cell["setting"] == (mean.idxmax() if ended else mean.index[0])]
        value[place] = best[column].mean()
        state[place] = "" if ended else str(best["status"].iloc[0])
        chosen[place] = bool(cell["chosen"].any()) and ended
        if not ended or chosen[place]:
            beside[place] = ""
        elif column == PAIRED:
            beside[place] = str(best["beside_chosen"].iloc[0])
        else:
            beside[place] = apart(best[limits].mean(), of_chosen)
        own = " ".join(filter(None, map((letters or {}).get, cell["trial"])))
        unstable = "unstable" if ended and (best["status"] == "unstable").any() else ""
        marks[place] = list(filter(None, ["chosen" if chosen[place] else "", own, unstable]))
    break_ = "\n" if axes else ", "
    words = {place: break_.join([state[place] or percent(value[place]), *marks[place]]) for place in value}
    frames: dict[str, Any] = {"axes": axes}
    for name, table, absent in (
        ("value", value, math.nan),
        ("words", words, ABSENT),
        ("chosen", chosen, False),
        ("beside", beside, ""),
        ("state", state, ABSENT),
        ("marks", {place: " ".join(each) for place, each in marks.items()}, ""),
    ):
        frame = pd.Series(table).unstack(fill_value=absent, sort=bool(axes))
        frame.index.name, frame.columns.name = down, across
        frames[name] = frame
    frames["value"] = frames["value"].astype(float)
    return frames


def apart(one: Sequence[float], chosen: Sequence[float]) -> str:
    """What the limits (low, high) of two scores say of the first.

    "better" or "worse" only where the intervals do not meet, which asks for more than a paired difference does.
    """
    (low, high), (least, greatest) = one, chosen
    return BETTER if low > greatest else WORSE if high < least else NOT_RESOLVED


def shortened(tables: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Cells of a list of settings that is too long for a figure: the best `SETTINGS` of them, and the chosen.

    The chosen are those of precision and of the measures without labels. Panels share their labels, so the same rows
    are kept for every metric: the best by the first.

    Args:
        tables: from `cells`, of one encoder, one per metric.
        metric: what the first metric is called.
    """
    first = tables[0]
    value, marks = (first[name].iloc[:, 0] for name in ("value", "marks"))
    if first["axes"] or len(value) <= SETTINGS:
        return [dict(table) for table in tables]
    best = value.rank(ascending=False, na_option="bottom", method="first").to_numpy() <= SETTINGS
    kept = best | (marks != "").to_numpy()
    beside = ", and the chosen" if kept.sum() > best.sum() else ""
    label = f"best {SETTINGS} of {len(value)} settings by {metric}{beside}"
    frames = ("value", "words", "chosen", "beside")
    return [dict(table) | {name: table[name][kept].rename_axis(index=label) for name in frames} for table in tables]
