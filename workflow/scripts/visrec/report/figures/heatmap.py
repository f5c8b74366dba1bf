"""The heat maps: headline scores on validation over each encoder's grid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from visrec.experiment.trials import Trial
from visrec.report import style
from visrec.report.cells import ABSENT, cells, shortened
from visrec.report.figures.drawing import COLUMN, nothing, wrapped
from visrec.report.verdict import BETTER, METRICS, WORSE

ROW = 36  # letters in a line, of what a phone's width holds beside a cell
CELL, SETTING = 0.62, 0.36  # inches, of a row of a heat map over axes, and of one setting by setting
ACROSS = 6  # columns of cells that panels side by side have room for
SIGN = {BETTER: 1.0, WORSE: -1.0}
PALEST = 0.35  # of the colour of a measurable difference


def heatmap(
    grid: pd.DataFrame,
    trials: Sequence[Trial],
    theme: str,
    columns: int = 1,
    width: float = COLUMN,
    choices: Mapping[tuple[str, str], str] | None = None,
    k: int = 3,
) -> Figure:
    """The headline scores on validation over two axes of each encoder's grid, or setting by setting; the chosen framed.

    Colours are centred on the chosen: what is not measurably better or worse is grey.

    Where the grid has more axes, a cell is the best of its settings; with several seeds a setting is their mean.

    Args:
        grid: rows of grid.csv, of one dataset and size.
        trials: of the same.
        theme: "light" or "dark".
        columns: panels side by side, one per metric.
        width: inches.
        choices: (encoder, trial's name) -> letters of the measures without labels that would choose it, "A C".
        k: the headline's number of neighbours.
    """
    by_encoder: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.grid:
            by_encoder.setdefault(trial.encoder, []).append(trial)
    if not by_encoder:
        return nothing("No encoder has a grid of hyper-parameters.")
    metrics = [name for name in METRICS if grid[f"val_{name}"].notna().any()] or ["precision"]
    tables = {}
    for encoder, members in by_encoder.items():
        own = grid[grid["encoder"] == encoder]
        letters = {trial: text for (whose, trial), text in (choices or {}).items() if whose == encoder}
        group = [cells(own, members, f"val_{name}", letters) for name in metrics]
        tables[encoder] = shortened(group, METRICS[metrics[0]].format(k=k))
    across = max(table["value"].shape[1] for group in tables.values() for table in group)
    columns = 1 if across > ACROSS else min(columns, len(metrics))
    lines = -(-len(metrics) // columns)
    # Inches are set here, so that cells are equally tall in every panel.
    cell = CELL if across <= ACROSS else SETTING
    heights = [(cell if group[0]["axes"] else SETTING) * len(group[0]["value"]) for group in tables.values()]
    heights = [height for height in heights for _ in range(lines)]
    figure, axes = plt.subplots(
        len(heights), columns, squeeze=False, figsize=(width, sum(heights) + 0.95 * len(heights)), height_ratios=heights
    )
    for number, (encoder, group) in enumerate(tables.items()):
        panels = axes[number * lines : (number + 1) * lines].flat
        for place, (axis, name, table) in enumerate(zip(panels, metrics, group, strict=False)):
            _heat(axis, table, theme, small=across > ACROSS)
            axis.set_title(f"{encoder}: {METRICS[name].format(k=k)}")
            if place % columns:
                axis.set_yticklabels([])
                axis.set_ylabel("")
        for axis in panels[len(metrics) :]:
            axis.set_visible(False)
    return figure


def shade(table: Mapping[str, Any]) -> pd.DataFrame:
    """How far each cell is from the chosen, in [-1, 1]: 0 where no difference is measurable, NaN without a value.

    The furthest is at 1 or -1, and what is measurable at all at PALEST at least.
    """
    value, beside, chosen = table["value"], table["beside"], table["chosen"].to_numpy()
    centre = float(value.to_numpy()[chosen].mean()) if chosen.any() else math.nan
    far = (value - centre).abs().where(beside.isin(list(SIGN)), 0.0)
    sign = beside.map(SIGN.get).astype(float).fillna(0.0)
    strength = PALEST + (1 - PALEST) * far / (float(far.max().max()) or 1.0)
    return (sign * strength).where(value.notna())


def _heat(axis: Axes, table: Mapping[str, Any], theme: str, small: bool) -> None:
    """One heat map; `small` where there are so many columns that a cell holds a number and no more."""
    value, written = table["value"], table["words"]
    if small:
        written = written.replace(r"\s?%", "", regex=True)
    font = 6.0 if small else 8.5
    sns.heatmap(
        shade(table),
        ax=axis,
        vmin=-1,
        vmax=1,
        cmap=LinearSegmentedColormap.from_list("", [style.WORSE[theme], style.OPEN[theme], style.BETTER[theme]]),
        cbar=False,
        annot=written,
        fmt="",
        annot_kws={"fontsize": font, "color": style.INK[theme], "linespacing": 1.25},
        linewidths=0.8 if small else 2,
        linecolor=style.GROUND[theme],
    )
    for y, x in np.argwhere(value.isna().to_numpy()):
        text = written.iat[y, x]
        if text == ABSENT:
            axis.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=font - 0.5, color=style.MUTED[theme])
            continue
        axis.add_patch(plt.Rectangle((x, y), 1, 1, fill=False, hatch="////", ec=style.RULE[theme], lw=0, zorder=0.5))
        axis.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=font)
    for y, x in np.argwhere(table["chosen"].to_numpy()):
        frame = {"fill": False, "ec": style.ACCENT[theme], "lw": 2.2, "clip_on": False}
        axis.add_patch(plt.Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, **frame))
    axis.set_ylabel(value.index.name or "", rotation=90)
    axis.tick_params(length=0, labelcolor=style.INK[theme])
    axis.set_yticklabels([wrapped(label.get_text(), ROW) for label in axis.get_yticklabels()], rotation=0)
