"""The figure of the leaderboard: test scores with their intervals."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from visrec.report import style
from visrec.report.figures.drawing import DASHED, caption, nothing
from visrec.report.verdict import METRICS


def leaderboard(rows: pd.DataFrame, theme: str) -> Figure:
    """Test scores with their intervals, one panel per metric, one line per encoder; chance and majority as lines."""
    metrics = [name for name in METRICS if rows[name].notna().any()]
    if not metrics:
        return nothing("No encoder gave an embedding that could be scored.")
    colours = style.encoder_colours(rows["encoder"])
    shapes = style.markers(rows["encoder"])
    side = style.THEMES.index(theme)
    figure, axes = plt.subplots(
        1, len(metrics), sharey=True, squeeze=False, figsize=(2.9 * len(metrics) + 0.9, 0.42 * len(rows) + 1.25)
    )
    for axis, name in zip(axes[0], metrics, strict=True):
        for place, row in enumerate(rows.to_dict("records")):
            colour = colours[row["encoder"]][side]
            if pd.isna(row[name]):
                axis.text(0.01, place, row["status"], va="center", color=style.MUTED[theme], fontsize=8)
                continue
            bar = [[max(0.0, row[name] - row[f"{name}_low"])], [max(0.0, row[f"{name}_high"] - row[name])]]
            axis.errorbar(
                row[name], place, xerr=bar, fmt=shapes[row["encoder"]], color=colour, ms=4.5, elinewidth=1.6, capsize=4
            )
        chance = rows[f"{name}_chance"].dropna()
        if len(chance):
            axis.axvline(chance.iloc[0], color=style.MUTED[theme], lw=1, ls=DASHED, zorder=0)
        if name != "precision" and rows["majority"].notna().any():
            axis.axvline(rows["majority"].dropna().iloc[0], color=style.MUTED[theme], lw=1, zorder=0)
        axis.set(title=METRICS[name].format(k=rows["k"].iloc[0]), xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_yticks(range(len(rows)), rows["encoder"])
        axis.tick_params(axis="y", length=0, labelcolor=style.INK[theme])
        sns.despine(ax=axis, left=True)
    caption(figure, "test, 95 % intervals; dashed: chance, solid: the most common class", theme)
    return figure
