"""The atlas: precision of each layer, pooling and stack."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from visrec.report import style
from visrec.report.figures.drawing import DASHED, PHONE, nothing
from visrec.report.layer_sections import variant_name

LINE = 0.205  # inches, of a row
# statistics of batch norm: (what they are called, how far below its line a dot stands)
MODES = {"running": ("running statistics", -0.16), "reestimated": ("re-estimated statistics", 0.16)}


def atlas_rows(rows: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Groups of the atlas from the top: (heading, what its lines are called), each variant once.

    Args:
        rows: of one trial.
    """
    groups: dict[str, dict[str, None]] = {}
    for row in rows.to_dict("records"):
        heading = f"single layers, {row['pooling']}" if row["variant"] in ("alone", "output") else "stacks"
        groups.setdefault(heading, {})[variant_name(row)] = None
    return [(heading, list(names)) for heading, names in groups.items()]


def atlas(rows: pd.DataFrame, theme: str, columns: int, width: float) -> Figure:
    """Precision of each layer, pooling and stack with its interval, one panel per encoder, one dot per batch norm mode.

    Args:
        rows: the rows of atlas.csv of the trials to draw, one trial per encoder.
        theme: "light" or "dark".
        columns: panels side by side, at most.
        width: inches of a panel.
    """
    panels = list(rows.groupby("encoder", sort=False)) if "precision" in rows else []
    if not panels:
        return nothing("No encoder has an atlas: there are no layers to compare.", width)
    columns = min(columns, len(panels))
    tall = [sum(1 + len(names) for _, names in atlas_rows(part)) for _, part in panels]
    heights = [max(tall[start : start + columns]) for start in range(0, len(panels), columns)]
    figure, axes = plt.subplots(
        len(heights), columns, squeeze=False, height_ratios=heights,
        figsize=(width * columns, LINE * sum(heights) + 0.75 * len(heights) + 0.5),
    )  # fmt: skip
    colours = style.encoder_colours(rows["encoder"])
    for axis, (name, part) in zip(axes.flat, panels, strict=False):
        _atlas_panel(axis, part, colours[name][style.THEMES.index(theme)], theme)
        axis.set_title(name)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    handles = [_mode_handle(mode, style.MUTED[theme], theme) for mode in MODES if mode in set(rows["batchnorm"])]
    handles.append(plt.Line2D([], [], lw=0.9, ls=DASHED, label="chance", color=style.MUTED[theme]))
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles) if width * columns > PHONE else 1)
    return figure


def _mode_handle(mode: str, colour: str, theme: str) -> plt.Line2D:
    fill = colour if mode == "reestimated" else style.GROUND[theme]
    return plt.Line2D([], [], color=colour, marker="o", ms=4, mfc=fill, lw=1.2, label=f"batch norm: {MODES[mode][0]}")


def _atlas_panel(axis: Axes, rows: pd.DataFrame, colour: str, theme: str) -> None:
    """Groups from the top, each under its heading; the first mode above the second on each line."""
    places, labels, headings = {}, [], []
    for heading, names in atlas_rows(rows):
        headings.append(len(labels))
        labels.append(heading)
        for one in names:
            places[one] = len(labels)
            labels.append(one.removesuffix(f" ({heading.rpartition(', ')[2]})"))
    for mode, part in rows.groupby("batchnorm", sort=False):
        value = part["precision"].to_numpy(float)
        bar = np.clip([value - part["low"], part["high"] - value], 0, None)
        y = [places[variant_name(row)] + MODES[mode][1] for row in part.to_dict("records")]
        fill = colour if mode == "reestimated" else style.GROUND[theme]
        axis.errorbar(value, y, xerr=bar, fmt="o", color=colour, ms=4, mfc=fill, elinewidth=1.2)
    chance = rows["chance"].dropna()
    if len(chance):
        axis.axvline(chance.iloc[0], color=style.MUTED[theme], lw=0.9, ls=DASHED, zorder=0)
    axis.set(ylim=(len(labels) - 0.4, -0.6), xlabel=f"precision@{int(rows['k'].iloc[0])}, validation")
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_yticks(range(len(labels)), labels)
    axis.tick_params(axis="y", length=0, labelcolor=style.INK[theme])
    for place in headings:
        axis.get_yticklabels()[place].set(color=style.MUTED[theme], style="italic")
    span = {"transform": axis.get_yaxis_transform(), "color": style.RULE[theme], "lw": 0.5, "zorder": 0}
    axis.hlines(list(places.values()), 0, 1, **span)
    sns.despine(ax=axis, left=True)
