"""The figure of the layers: what share of the distance each has."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from visrec.report import style
from visrec.report.figures.drawing import COLUMN, caption, nothing
from visrec.report.verdict import percent


def layers(rows: pd.DataFrame, theme: str) -> Figure:
    """Share of the dimensions beside share of the squared distance, per layer, one panel per encoder with a stack.

    Args:
        rows: the rows of layers.csv of the trials to draw, one trial per encoder.
        theme: "light" or "dark".
    """
    stacked = [(name, part) for name, part in rows.groupby("encoder", sort=False) if len(part) > 1]
    if not stacked:
        return nothing("No encoder stacks several layers.")
    heights = [len(part) for _, part in stacked]
    figure, axes = plt.subplots(
        len(stacked), 1, squeeze=False, sharex=True, figsize=(COLUMN, 0.44 * sum(heights) + 0.5 * len(stacked) + 0.7),
        height_ratios=heights,
    )  # fmt: skip
    colours = style.encoder_colours(rows["encoder"])
    for axis, (name, part) in zip(axes[:, 0], stacked, strict=True):
        colour = colours[name][style.THEMES.index(theme)]
        y = np.arange(len(part))
        for shift, column, look in (
            (-0.17, "share_of_dimensions", {"color": style.RULE[theme]}),
            (0.17, "share_of_distance", {"color": colour}),
        ):
            share = part[column].to_numpy(float)
            axis.barh(y + shift, np.nan_to_num(share), height=0.3, lw=0, **look)
            for place, value in zip(y, share, strict=True):
                axis.text(np.nan_to_num(value) + 0.012, place + shift, _share(value), va="center", fontsize=7.5)
        axis.set(xlim=(0, 1.12), ylim=(len(part) - 0.5, -0.5), title=name)
        labels = [
            f"{layer} ({dimensions})" for layer, dimensions in zip(part["layer"], part["dimensions"], strict=True)
        ]
        axis.set_yticks(y, labels)
        axis.tick_params(axis="y", length=0, labelcolor=style.INK[theme])
        axis.set_xticks([])
        sns.despine(ax=axis, left=True, bottom=True)
    caption(figure, "pale: share of the dimensions; strong: share of the squared distance", theme)
    return figure


def _share(value: float) -> str:
    """A share in percent that does not call something nothing."""
    return "under 0.1 %" if 0 < value < 0.001 else percent(value)
