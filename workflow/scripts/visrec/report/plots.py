"""The figures, one set per dataset and size, in the light and the dark look, as SVG.

SVG throughout: with some 60 readings per training a figure is 20 to 60 kB, a PNG of the same sharpness on a phone's
screen is more, and a file's name must not depend on what is in it.
"""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")  # nothing to draw on where this runs

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from visrec.data.files import write_text
from visrec.report import FIGURES, style
from visrec.report.draws import GROUP, folder, listed, setting, words
from visrec.report.sections import chosen_without, variant_name
from visrec.report.verdict import METRICS, percent
from visrec.training.losses import HEALTHY_COSINE, HEALTHY_KL, kl_ideal

PATHS = re.compile(r' d="([^"]+)"')
LETTERS = re.compile(r"\s*([A-Za-z])\s*")
SPACES = re.compile(r"\s+")
NUMBERS = re.compile(r"\d+\.\d{2,}")
POINTS = 240  # of a line: more cannot be seen
HEALTHY = (0.5, 1.6)  # of M v_j in one batch of 64 uniform on the sphere: its least and greatest of 128 lie about here
FLOOR = 1e-3  # of the logarithmic axis of M v_j; below it there is nothing left to tell apart
WIDE, COLUMN, PHONE = 10.6, 4.2, 3.75  # inches
LINE = 0.205  # inches, of a row of the atlas
LEGEND, ROW = 58, 36  # letters in a line, of what a phone's width holds beside a line or a cell
CELL, SETTING = 0.62, 0.36  # inches, of a row of a heat map over axes, and of one setting by setting
AS_IS = "nothing changed"  # a grid that sets nothing, {}
ACROSS = 6  # columns of cells that panels side by side have room for
SETTINGS = 40  # rows of a heat map setting by setting
MANY = 12  # settings whose curves can be told apart
ABSENT = "no result"  # a pair that was not tried, or whose trials have not ended
# statistics of batch norm: (what they are called, how far below its line a dot stands)
MODES = {"running": ("running statistics", -0.16), "reestimated": ("re-estimated statistics", 0.16)}
# panel: title
CURVES = {
    "loss_encoder": "Encoder's loss",
    "latent_cosine": "Cosine of z and e(g(z))",
    "kl_real": "KL, real images",
    "kl_fake": "KL, generated images",
    "variance": "Variance M·v, min to max",
    "mean_norm": "Norm of mean code",
    "pixel_match": "Pixel match",
    "images_per_second": "Images per second",
}


def thin(history: pd.DataFrame, points: int = POINTS) -> pd.DataFrame:
    """At most `points` rows: means of equal runs of rows, but least and greatest variance stay least and greatest."""
    if len(history) <= points:
        return history
    runs = np.arange(len(history)) * points // len(history)
    how = dict.fromkeys(history, "mean") | {"variance_min": "min", "variance_max": "max"}
    return history.groupby(runs).agg({column: how[column] for column in history})


def read_history(results_dir: str | Path, trial: Mapping[str, Any]) -> pd.DataFrame | None:
    """history.csv of a trial, thinned, infinite values as NaN; None if it has none."""
    path = folder(results_dir, trial) / "history.csv"
    if not path.exists():
        return None
    history = pd.read_csv(path)
    return thin(history.replace([np.inf, -np.inf], np.nan)) if len(history) else None


def _nothing(words: str, width: float = COLUMN) -> Figure:
    """A figure that says in words why there is nothing to draw."""
    figure = plt.figure(figsize=(width, 0.9))
    figure.text(0.02, 0.5, words, va="center", ha="left", color=plt.rcParams["axes.labelcolor"], wrap=True)
    return figure


def leaderboard(rows: pd.DataFrame, theme: str) -> Figure:
    """Test scores with their intervals, one panel per metric, one line per encoder; chance and majority as lines."""
    metrics = [name for name in METRICS if rows[name].notna().any()]
    if not metrics:
        return _nothing("No encoder gave an embedding that could be scored.")
    colours = style.encoder_colours(rows["encoder"])
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
            axis.errorbar(row[name], place, xerr=bar, fmt="o", color=colour, ms=4, elinewidth=1.6, capsize=4)
        chance = rows[f"{name}_chance"].dropna()
        if len(chance):
            axis.axvline(chance.iloc[0], color=style.MUTED[theme], lw=1, ls=(0, (4, 3)), zorder=0)
        if name != "precision" and rows["majority"].notna().any():
            axis.axvline(rows["majority"].dropna().iloc[0], color=style.MUTED[theme], lw=1, zorder=0)
        axis.set(title=METRICS[name].format(k=rows["k"].iloc[0]), xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_yticks(range(len(rows)), rows["encoder"])
        axis.tick_params(axis="y", length=0, labelcolor=style.INK[theme])
        sns.despine(ax=axis, left=True)
    figure.supxlabel(
        "test, 95 % intervals; dashed: chance, solid: the commonest class as constant answer",
        fontsize=8,
        color=style.MUTED[theme],
        x=0.01,
        ha="left",
    )
    return figure


def _axes_of_grid(trials: Sequence[Mapping]) -> list[str]:
    return list(dict.fromkeys(axis for trial in trials for axis in trial["grid"]))


def _axes_shown(trials: Sequence[Mapping]) -> list[str]:
    """The axes of one encoder's heat map: two at most, those that vary before those that do not.

    None where more than two vary and not all combinations were tried, as where one thing is changed at a time: the best
    of many settings would stand in one cell, a single one in the next.
    """
    axes = _axes_of_grid(trials)
    values = {axis: {trial["options"][axis] for trial in trials} for axis in axes}
    varied = [axis for axis in axes if len(values[axis]) > 1]
    tried = {tuple(trial["options"][axis] for axis in varied) for trial in trials}
    if len(varied) > 2 and len(tried) < math.prod(len(values[axis]) for axis in varied):
        return []
    first = sorted(axes, key=lambda axis: axis not in varied)[:2]
    return [axis for axis in axes if axis in first]


def heatmap(
    grid: pd.DataFrame,
    trials: Sequence[Mapping],
    theme: str,
    columns: int = 1,
    width: float = COLUMN,
    choices: Mapping[tuple[str, str], str] | None = None,
    k: int = 3,
) -> Figure:
    """The headline scores on validation over two axes of each encoder's grid, or setting by setting; the chosen framed.

    Where the grid has more axes, a cell is the best of its settings; with several seeds a setting is their mean.

    Args:
        grid: rows of grid.csv, of one dataset and size.
        trials: of the same.
        theme: "light" or "dark".
        columns: panels side by side, one per metric.
        width: inches.
        choices: (encoder, trial) -> letters of the measures without labels that would choose it, "A C".
        k: the headline's number of neighbours.
    """
    by_encoder: dict[str, list[Mapping]] = {}
    for trial in trials:
        if trial["grid"]:
            by_encoder.setdefault(trial["encoder"], []).append(trial)
    if not by_encoder:
        return _nothing("No encoder has a grid of hyper-parameters.")
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
    # Inches by hand, so that cells are equally tall in every panel.
    cell = CELL if across <= ACROSS else SETTING
    heights = [(cell if group[0]["axes"] else SETTING) * len(group[0]["value"]) for group in tables.values()]
    heights = [height for height in heights for _ in range(lines)]
    figure, axes = plt.subplots(
        len(heights), columns, squeeze=False, figsize=(width, sum(heights) + 0.95 * len(heights)), height_ratios=heights
    )
    for number, (encoder, group) in enumerate(tables.items()):
        panels = axes[number * lines : (number + 1) * lines].flat
        for place, (axis, name, table) in enumerate(zip(panels, metrics, group, strict=False)):
            known = pd.concat([other[metrics.index(name)]["value"].stack() for other in tables.values()]).dropna()
            limits = (known.min(), known.max()) if len(known) else (0.0, 1.0)
            _heat(axis, table, limits, theme, small=across > ACROSS)
            axis.set_title(f"{encoder}: {METRICS[name].format(k=k)}")
            if place % columns:
                axis.set_yticklabels([])
                axis.set_ylabel("")
        for axis in panels[len(metrics) :]:
            axis.set_visible(False)
    return figure


def _heat(axis: Axes, table: Mapping[str, Any], limits: tuple[float, float], theme: str, small: bool) -> None:
    """One heat map; `small` where there are so many columns that a cell holds a number and no more."""
    value, written = table["value"], table["words"]
    if small:
        written = written.replace(r"\s?%", "", regex=True)
    margin = max(0.01, 0.15 * (limits[1] - limits[0]))
    palette = partial(sns.light_palette if theme == "light" else sns.dark_palette, as_cmap=True)
    font = 6.0 if small else 8.5
    sns.heatmap(
        value,
        ax=axis,
        vmin=limits[0] - margin,
        vmax=limits[1] + margin,
        cmap=palette("#d9824f" if theme == "light" else "#a5572a"),
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
    axis.set_yticklabels([_wrapped(label.get_text(), ROW) for label in axis.get_yticklabels()], rotation=0)


def shortened(tables: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Cells of a list of settings that is too long for a figure: the best `SETTINGS` of them, and the chosen.

    Those are chosen by precision, and by the measures without labels.

    Panels share their labels, so the same rows are kept for every metric: the best by the first.

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
    frames = ("value", "words", "chosen")
    return [dict(table) | {name: table[name][kept].rename_axis(index=label) for name in frames} for table in tables]


def placed(rows: pd.DataFrame, trials: Sequence[Mapping]) -> pd.DataFrame:
    """Rows of grid.csv of one encoder, dataset and size, with their `setting` and its place: `y` down, `x` across.

    A place has several settings where the grid has more axes than are shown.
    """
    axes = _axes_shown(trials)
    rows = rows.assign(setting=rows["trial"].map({trial["trial"]: setting(trial) for trial in trials}))
    if axes:  # not grid.csv's columns: they are empty for other encoders, which makes 8.0 of 8
        places = [{trial["trial"]: trial["options"][axis] for trial in trials} for axis in axes]
        return rows.assign(x=rows["trial"].map(places[0]), y=rows["trial"].map(places[1]) if len(places) > 1 else "")
    changes = {trial["trial"]: listed(trial, trial["axes"]) or AS_IS for trial in trials}
    return rows.assign(x="", y=rows["trial"].map(changes))


def cells(
    rows: pd.DataFrame,
    trials: Sequence[Mapping],
    column: str = "val_precision",
    letters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What stands in one encoder's heat map: frames, second axis down, first across.

    `value`; `state`, why there is none, else ""; `chosen`; `marks`, "chosen" and letters; `words`, all of it as text.
    `axes` are the axes shown.

    Where there are no axes to show, every setting has a row, in the config's order.

    Args:
        rows: the encoder's rows of grid.csv, of one dataset and size.
        trials: its trials.
        column: of grid.csv, that `value` is of.
        letters: trial -> letters to write into its cell.
    """
    axes = _axes_shown(trials)
    across, down = (*axes, "", "")[:2]
    rows = placed(rows, trials)
    value, state, marks, chosen = {}, {}, {}, {}
    for place, cell in rows.groupby(["y", "x"], sort=bool(axes)):
        mean = cell.groupby("setting")[column].mean()
        ended = bool(mean.notna().any())
        best = cell[cell["setting"] == (mean.idxmax() if ended else mean.index[0])]
        value[place] = best[column].mean()
        state[place] = "" if ended else str(best["status"].iloc[0])
        chosen[place] = bool(cell["chosen"].any()) and ended
        own = " ".join(filter(None, map((letters or {}).get, cell["trial"])))
        marks[place] = list(filter(None, ["chosen" if chosen[place] else "", own]))
    apart = "\n" if axes else ", "
    words = {place: apart.join([state[place] or percent(value[place]), *marks[place]]) for place in value}
    frames: dict[str, Any] = {"axes": axes}
    for name, table, absent in (
        ("value", value, math.nan),
        ("words", words, ABSENT),
        ("chosen", chosen, False),
        ("state", state, ABSENT),
        ("marks", {place: " ".join(each) for place, each in marks.items()}, ""),
    ):
        frame = pd.Series(table).unstack(fill_value=absent, sort=bool(axes))
        frame.index.name, frame.columns.name = down, across
        frames[name] = frame
    frames["value"] = frames["value"].astype(float)
    return frames


def _limits(values: np.ndarray) -> tuple[float, float] | None:
    """Limits that an explosion at the end does not blow up: of the middle 98 % of the values, with a margin."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    low, high = np.quantile(values, [0.01, 0.99])
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def curves(
    histories: Sequence[tuple[Mapping, pd.DataFrame]], chosen: str | None, theme: str, columns: int, width: float
) -> Figure:
    """Small multiples of the training's readings, one line per trial.

    Args:
        histories: trials with their history.
        chosen: setting drawn strongest.
        theme: "light" or "dark".
        columns: panels side by side.
        width: inches.
    """
    if not histories:
        return _nothing("No network was trained here: there are no curves to draw.", width)
    every = list(dict.fromkeys(setting(trial) for trial, _ in histories))
    # More than can be told apart: the chosen and the first few have their looks, the others are a crowd behind them.
    settings = sorted(every, key=lambda one: one != chosen)[:MANY] if len(every) > MANY else every
    crowd = {"color": style.MUTED[theme], "alpha": 0.35, "lw": 0.5, "zorder": 1}
    if len(every) > MANY:
        points = max(12, POINTS * MANY // len(every))
        crowded = [thin(table, points) for trial, table in histories if setting(trial) not in settings]
        histories = [(trial, table) for trial, table in histories if setting(trial) in settings]
    else:
        crowded = []
    lines = style.LINES[theme]
    looks = {
        one: {"color": lines[number % len(lines)], "ls": style.DASHES[number // len(lines) % len(style.DASHES)]}
        for number, one in enumerate(settings)
    }
    rows = -(-len(CURVES) // columns)
    legend_rows = -(-(len(settings) + 2) // (3 if columns > 2 else 1))
    height = rows * (1.75 if columns > 2 else 1.6) + 0.35 + 0.19 * legend_rows
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    for axis, (name, title) in zip(axes.flat, CURVES.items(), strict=True):
        seen = []
        for trial, history in histories:
            strong = setting(trial) == chosen or len(settings) == 1
            look = {"lw": 1.9 if strong else 1.1, "zorder": 3 if strong else 2}
            _line(axis, name, history, looks[setting(trial)] | look, seen)
        if crowded:  # one line with gaps, which is a fraction of the file that many lines are
            gap = pd.DataFrame([dict.fromkeys(crowded[0], math.nan)])
            _line(axis, name, pd.concat([part for table in crowded for part in (table, gap)]), crowd, seen, band=False)
        _frame(axis, name, histories, theme, seen)
        axis.set_title(title, fontsize=9.5 if columns > 2 else 8.5)
    for axis in axes.flat[len(CURVES) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("iteration")
    handles = [plt.Line2D([], [], lw=1.9 if one == chosen else 1.1, **looks[one]) for one in settings]
    labels = [
        _legend(next(trial for trial, _ in histories if setting(trial) == one), one == chosen) for one in settings
    ]
    if len(every) > len(settings):
        handles.append(plt.Line2D([], [], **crowd))
        labels.append(f"{len(every) - len(settings)} other settings")
    handles += [plt.Line2D([], [], color=style.MUTED[theme], lw=0.9, ls=(0, (4, 3))), plt.Rectangle((0, 0), 1, 1, lw=0)]
    handles[-1].set_color(style.HEALTHY[theme])
    labels += ["least KL, on the uniform sphere", "healthy range"]
    figure.legend(handles, labels, loc="outside lower left", ncols=3 if columns > 2 else 1, handlelength=2.6)
    return figure


def _line(axis: Axes, name: str, history: pd.DataFrame, look: Mapping[str, Any], seen: list, band: bool = True) -> None:
    x = history["iteration"]
    if name == "variance":
        low, mean, high = (history[f"variance_{part}"].clip(lower=FLOOR) for part in ("min", "mean", "max"))
        if band:
            axis.fill_between(x, low, high, color=look["color"], alpha=0.13, lw=0)
        axis.plot(x, mean, **look)
    elif name in history:
        axis.plot(x, history[name], **look)
        seen.append(history[name].to_numpy(float))


def _frame(axis: Axes, name: str, histories: Sequence[tuple[Mapping, pd.DataFrame]], theme: str, seen: list) -> None:
    """Limits, reference lines and ticks of one panel."""
    if name == "variance":
        axis.axhspan(*HEALTHY, color=style.HEALTHY[theme], zorder=0, lw=0)
        axis.axhline(1, color=style.MUTED[theme], lw=0.8, zorder=1)
        axis.set(yscale="log", ylim=(FLOOR, 12), yticks=[0.001, 0.01, 0.1, 1, 10])
        axis.set_yticklabels(["0.001", "0.01", "0.1", "1", "10"])
        axis.minorticks_off()
    else:
        ideals = []
        if name in ("kl_real", "kl_fake"):
            # An encoder that is trained otherwise has no such options, and no ideal that is known here.
            options = [trial["options"] for trial, _ in histories if {"kl", "latent"} <= set(trial["options"])]
            ideals = sorted({kl_ideal(one["kl"], one["latent"]) for one in options})
        limits = _limits(np.concatenate([*seen, np.array(ideals)])) if seen else None
        if limits is None:
            axis.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axis.transAxes, fontsize=8)
        else:
            axis.set_ylim(*limits)
        if name in ("latent_cosine", "mean_norm", "pixel_match", "images_per_second"):
            axis.set_ylim(bottom=0)
        healthy = {"latent_cosine": (HEALTHY_COSINE, 1.0)}
        if ideals:
            healthy["kl_fake"] = ideals[0], HEALTHY_KL * ideals[-1]
        if name in healthy and limits is not None:
            axis.axhspan(*healthy[name], color=style.HEALTHY[theme], zorder=0, lw=0)
        for ideal in ideals:
            axis.axhline(ideal, color=style.MUTED[theme], lw=0.9, ls=(0, (4, 3)), zorder=1)
        axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.margins(x=0.01)


def _legend(trial: Mapping[str, Any], chosen: bool) -> str:
    text = f"{trial['encoder']}: {words(trial) or trial['trial']}" + (" (chosen)" if chosen else "")
    return _wrapped(text, LEGEND)


def _wrapped(text: str, width: int) -> str:
    """A list of options in lines of about `width` letters, broken after commas only."""
    tied = re.sub("(?<!,) ", "\N{NO-BREAK SPACE}", text)
    lines = textwrap.fill(tied, width, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ")


def layers(rows: pd.DataFrame, theme: str) -> Figure:
    """Share of the dimensions beside share of the squared distance, per layer, one panel per encoder with a stack.

    Args:
        rows: the rows of layers.csv of the trials to draw, one trial per encoder.
        theme: "light" or "dark".
    """
    stacked = [(name, part) for name, part in rows.groupby("encoder", sort=False) if len(part) > 1]
    if not stacked:
        return _nothing("No encoder stacks several layers.")
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
    figure.supxlabel(
        "pale: share of the dimensions; strong: share of the squared distance",
        fontsize=8,
        color=style.MUTED[theme],
        x=0.01,
        ha="left",
    )
    return figure


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
        return _nothing("No encoder has an atlas: there are no layers to compare.", width)
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
    handles.append(plt.Line2D([], [], lw=0.9, ls=(0, (4, 3)), label="chance", color=style.MUTED[theme]))
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
        axis.axvline(chance.iloc[0], color=style.MUTED[theme], lw=0.9, ls=(0, (4, 3)), zorder=0)
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


def _share(value: float) -> str:
    """A share in percent that does not call something nothing."""
    return "under 0.1 %" if 0 < value < 0.001 else percent(value)


def _save(figure: Figure, path: Path) -> None:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    plt.close(figure)
    write_text(path, PATHS.sub(_shorten, drawn.getvalue()))


def _shorten(path: re.Match[str]) -> str:
    """A path in tenths of a point, without needless spaces: finer than a screen, and a third of the file."""
    rounded = NUMBERS.sub(lambda number: f"{float(number[0]):.1f}", path[1].strip())
    tight = SPACES.sub(",", LETTERS.sub(r"\1", rounded))
    return f' d="{tight}"'


def figures(tables_dir: str | Path, results_dir: str | Path, trials: Sequence[Mapping], out: str | Path) -> None:
    """Draw `visrec.report.FIGURES` for every dataset and size, under `out`/{dataset}/{size}px/.

    Args:
        tables_dir: where `tables.tables` wrote.
        results_dir: results/{experiment}.
        trials: as for `tables.tables`.
        out: the folder of the figures.
    """
    tables_dir = Path(tables_dir)
    leaders, grid, layer_rows, atlases, selected = (
        pd.read_csv(tables_dir / f"{name}.csv") for name in ("leaderboard", "grid", "layers", "atlas", "selection")
    )
    for dataset, size in dict.fromkeys((trial["dataset"], trial["size"]) for trial in trials):
        here = [trial for trial in trials if (trial["dataset"], trial["size"]) == (dataset, size)]
        board, cells_here, layers_here, atlas_here, selected_here = (
            table[(table["dataset"] == dataset) & (table["size"] == size)]
            for table in (leaders, grid, layer_rows, atlases, selected)
        )
        shown, mapped = (
            board[[*GROUP, "trial"]].merge(table, on=[*GROUP, "trial"]) for table in (layers_here, atlas_here)
        )
        histories = [(trial, history) for trial in here if (history := read_history(results_dir, trial)) is not None]
        picked = {(row["encoder"], row["trial"]) for row in board.to_dict("records") if row["status"] == "ok"}
        chosen = next((setting(t) for t, _ in histories if (t["encoder"], t["trial"]) in picked), None)
        choices = chosen_without(selected_here)
        heat = partial(heatmap, cells_here, here, choices=choices, k=board["k"].iloc[0])
        draw: dict[str, Callable[[str], Figure]] = {
            "leaderboard": partial(leaderboard, board),
            "heatmap": partial(heat, columns=3, width=WIDE),
            "heatmap-narrow": heat,
            "curves": partial(curves, histories, chosen, columns=4, width=WIDE),
            "curves-narrow": partial(curves, histories, chosen, columns=2, width=PHONE),
            "layers": partial(layers, shown),
            "atlas": partial(atlas, mapped, columns=2, width=WIDE / 2),
            "atlas-narrow": partial(atlas, mapped, columns=1, width=PHONE),
        }
        for name in FIGURES:
            stem = name.removesuffix(".svg")
            theme = "dark" if stem.endswith("-dark") else "light"
            with plt.rc_context(style.settings(theme) | {"figure.constrained_layout.use": True}):
                figure = draw[stem.removesuffix("-dark")](theme=theme)
                with warnings.catch_warnings():
                    # A figure of words has no axes to lay out.
                    warnings.filterwarnings("ignore", message="There are no gridspecs with layoutgrids")
                    _save(figure, Path(out) / dataset / f"{size}px" / name)
