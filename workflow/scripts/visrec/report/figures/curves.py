"""The training curves: one panel for each reading that a trained encoder declares, one line per trial.

A trained encoder's READINGS say which columns of history.csv are drawn, and how:

    column: {"title": of its panel,
             "healthy": [low, high], shaded; either may be None,
             "ideal": value of a dashed line,
             "band": [lower column, upper column], shaded around the line,
             "scale": "log",
             "from_zero": True}

All but the title may be left out.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from visrec.data.csv_files import read_table
from visrec.experiment.trials import Trial
from visrec.report import style
from visrec.report.figures.drawing import DASHED, nothing, wrapped
from visrec.report.settings import describe, setting

Reading = Mapping[str, Any]

SPEED = {"images_per_second": {"title": "Images per second", "from_zero": True}}  # every training records it
POINTS = 240  # of a line: more cannot be seen
FLOOR = 1e-3  # of logarithmic axes
MANY = 12  # settings whose curves can be told apart
LEGEND = 58  # letters in a line, of what a phone's width holds beside a line
IDEAL, HEALTHY = "ideal", "healthy range"


@dataclass(frozen=True)
class Line:
    """One line of every panel.

    Attributes:
        history: rows of history.csv.
        look: keyword arguments of `Axes.plot`.
        label: in the legend; lines with equal labels share an entry.
        bands: whether bands are drawn around it.
    """

    history: pd.DataFrame
    look: dict[str, Any]
    label: str
    bands: bool = True


def readings(trial: Trial) -> dict[str, Reading]:
    """The panels of a trial's encoder: column of history.csv -> what is declared of it, the speed last."""
    return trial.declared.get("READINGS", {}) | SPEED


def thin(history: pd.DataFrame, panels: Mapping[str, Reading], points: int = POINTS) -> pd.DataFrame:
    """At most `points` rows: means of equal runs of rows; of the columns of a band, the least and the greatest."""
    if len(history) <= points:
        return history
    how = dict.fromkeys(history, "mean")
    for reading in panels.values():
        how |= dict(zip(reading.get("band", ()), ("min", "max"), strict=False))
    runs = np.arange(len(history)) * points // len(history)
    return history.groupby(runs).agg({column: how[column] for column in history})


def read_history(results_dir: str | Path, trial: Trial) -> pd.DataFrame | None:
    """history.csv of a trial, thinned, infinite values as NaN; None if it has none."""
    path = Path(results_dir) / trial.folder / "history.csv"
    if not path.exists():
        return None
    history = read_table(path, needed=["iteration"])
    return thin(history.replace([np.inf, -np.inf], np.nan), readings(trial)) if len(history) else None


def curves(
    histories: Sequence[tuple[Trial, pd.DataFrame]],
    chosen: Mapping[str, str],
    theme: str,
    columns: int,
    width: float,
    ranked: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """The readings of trainings as small multiples; several encoders each have panels and a legend of their own.

    Args:
        histories: trials with their history.
        chosen: encoder -> setting drawn strongest.
        theme: "light" or "dark".
        columns: panels side by side.
        width: inches.
        ranked: encoder -> settings, the best on validation first: of many, the first of them have looks of their own.
    """
    if not histories:
        return nothing("No network was trained here: there are no curves to draw.", width)
    groups: dict[str, list[tuple[Trial, pd.DataFrame]]] = {}
    for trial, history in histories:
        groups.setdefault(trial.encoder, []).append((trial, history))
    panels = {encoder: _titled(readings(members[0][0]), columns, width) for encoder, members in groups.items()}
    colours = style.encoder_colours(groups)
    lines = {}
    for encoder, members in groups.items():
        order = (ranked or {}).get(encoder, ())
        lines[encoder] = _lines(members, chosen.get(encoder), order, style.shades(colours[encoder], theme), theme)
    headings = 0.3 if len(groups) > 1 else 0
    heights = [headings + _height(panels[encoder], lines[encoder], columns) for encoder in groups]
    figure = plt.figure(figsize=(width, sum(heights)))
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, encoder in zip(parts, groups, strict=True):
        _group(part, panels[encoder], lines[encoder], theme, columns)
        if headings:
            part.suptitle(encoder, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    _name(figure)
    return figure


def _name(figure: Figure) -> None:
    """Give panels and their curves an id in the SVG (see `drawing.described`)."""
    for number, axis in enumerate((axis for axis in figure.axes if axis.get_visible()), 1):
        axis.set_gid(f"panel-{number}")
        for place, line in enumerate((line for line in axis.lines if line.get_label() != IDEAL), 1):
            line.set_gid(f"panel-{number}-curve-{place}")


def _lines(
    histories: Sequence[tuple[Trial, pd.DataFrame]],
    chosen: str | None,
    order: Sequence[str],
    shades: Sequence[str],
    theme: str,
) -> list[Line]:
    """The lines of one encoder's trials, by setting: the chosen in its colour, the others in shades of it.

    Of more settings than can be told apart the chosen and the best have looks of their own; the others are a crowd
    behind them.

    Args:
        histories: trials with their history.
        chosen: setting drawn strongest.
        order: settings, the best first.
        shades: of the encoder's colour, itself first.
        theme: "light" or "dark".
    """
    members: dict[str, list[tuple[Trial, pd.DataFrame]]] = {}
    for trial, history in histories:
        members.setdefault(setting(trial), []).append((trial, history))
    ranked = dict.fromkeys(one for one in (chosen, *order, *members) if one in members)
    shown = list(ranked)[:MANY] if len(members) > MANY else list(members)
    numbers = {one: number for number, one in enumerate(sorted(shown, key=lambda one: one != chosen))}
    lines = []
    for one in shown:
        number, strong = numbers[one], one == chosen or len(shown) == 1
        look = {
            "color": shades[number % len(shades)],
            "ls": style.DASHES[number % len(style.DASHES)],  # 3 shades and 4 dashes: all MANY looks differ
            "lw": 1.9 if strong else 1.1,
            "zorder": 3 if strong else 2,
        }
        lines += [Line(history, look, _label(trial, one == chosen)) for trial, history in members[one]]
    others = [each for one, own in members.items() if one not in shown for each in own]
    if others:
        lines.append(_crowd(others, len(members) - len(shown), max(12, POINTS * MANY // len(members)), theme))
    return lines


def _crowd(histories: Sequence[tuple[Trial, pd.DataFrame]], settings: int, points: int, theme: str) -> Line:
    """One line with gaps, which is a fraction of the file that many lines are."""
    parts = []
    for trial, history in histories:
        parts += [thin(history, readings(trial), points), pd.DataFrame([dict.fromkeys(history, math.nan)])]
    look = {"color": style.MUTED[theme], "alpha": 0.35, "lw": 0.5, "zorder": 1}
    return Line(pd.concat(parts), look, f"{settings} other settings", bands=False)


def _label(trial: Trial, chosen: bool) -> str:
    return wrapped(f"{trial.encoder}: {describe(trial) or trial.name}" + (" (chosen)" if chosen else ""), LEGEND)


def _titled(panels: Mapping[str, Reading], columns: int, width: float) -> dict[str, Reading]:
    """The readings with their titles broken into lines that fit above a panel."""
    letters = int((width / columns - 0.45) * 72 / (0.6 * _title_size(columns)))  # 0.45 inches are left of the panel
    return {
        column: {**reading, "title": textwrap.fill(reading["title"], letters)} for column, reading in panels.items()
    }


def _title_size(columns: int) -> float:
    """Points."""
    return 9.5 if columns > 2 else 8.5


def _height(panels: Mapping[str, Reading], lines: Sequence[Line], columns: int) -> float:
    """Inches of one encoder's panels and legend."""
    entries = sum(label.count("\n") + 1 for label in {line.label for line in lines}) + 2
    legend = -(-entries // _legend_columns(columns))
    titles = [reading["title"].count("\n") for reading in panels.values()]
    breaks = [max(titles[start : start + columns]) for start in range(0, len(titles), columns)]
    return len(breaks) * (1.75 if columns > 2 else 1.6) + 0.15 * sum(breaks) + 0.35 + 0.19 * legend


def _legend_columns(columns: int) -> int:
    return 3 if columns > 2 else 1


def _group(part: SubFigure, panels: Mapping[str, Reading], lines: Sequence[Line], theme: str, columns: int) -> None:
    """The panels of one encoder and their legend."""
    axes = part.subplots(-(-len(panels) // columns), columns, squeeze=False)
    for axis, (column, reading) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, column, reading, lines, theme)
        axis.set_title(reading["title"], fontsize=_title_size(columns))
    for number, axis in enumerate(axes.flat):
        axis.set_visible(number < len(panels))
        if number + columns >= len(panels):  # nothing below it
            axis.set_xlabel("iteration")
    entries: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    ordered = sorted(entries, key=[*(line.label for line in lines), IDEAL, HEALTHY].index)
    part.legend(
        [entries[label] for label in ordered], ordered, loc="outside lower left", ncols=_legend_columns(columns),
        handlelength=2.6,
    )  # fmt: skip


def _panel(axis: Axes, column: str, reading: Reading, lines: Sequence[Line], theme: str) -> None:
    """Lines, limits, references and ticks of one reading."""
    log = reading.get("scale") == "log"
    seen = []
    for line in lines:
        known = line.history.clip(lower=FLOOR) if log else line.history
        if column not in known:
            continue
        x = line.history["iteration"]
        axis.plot(x, known[column], label=line.label, **line.look)
        seen.append(known[column])
        band = [known[each] for each in reading.get("band", ()) if each in known]
        if line.bands and len(band) == 2:
            axis.fill_between(x, *band, color=line.look["color"], alpha=0.13, lw=0)
            seen += band
    values = np.concatenate([np.asarray(each, float) for each in seen]) if seen else np.empty(0)
    if np.isfinite(values).any():
        _scale(axis, reading, values)
        _references(axis, reading, theme)
    else:
        axis.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axis.transAxes, fontsize=8)
        axis.set(xticks=[], yticks=[])
        return
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.margins(x=0.01)


def _scale(axis: Axes, reading: Reading, values: np.ndarray) -> None:
    """Limits and ticks of the vertical axis."""
    if reading.get("scale") == "log":
        references = [reading.get("ideal"), *reading.get("healthy", ())]
        axis.set(yscale="log", ylim=decades(values, [each for each in references if each is not None]))
        axis.yaxis.set_major_locator(LogLocator(numticks=6))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        return
    low, high = limits(values, reading.get("ideal"))
    axis.set_ylim(0 if reading.get("from_zero") and high > 0 else low, high)
    axis.yaxis.set_major_locator(MaxNLocator(4))


def _references(axis: Axes, reading: Reading, theme: str) -> None:
    """The healthy range and the ideal, inside the limits that the values gave."""
    if "healthy" in reading:
        ends = [limit if end is None else end for end, limit in zip(reading["healthy"], axis.get_ylim(), strict=True)]
        axis.axhspan(*ends, color=style.HEALTHY[theme], zorder=0, lw=0, label=HEALTHY)
    if reading.get("ideal") is not None:
        axis.axhline(reading["ideal"], color=style.MUTED[theme], lw=0.9, ls=DASHED, zorder=1, label=IDEAL)


def limits(values: np.ndarray, ideal: float | None = None) -> tuple[float, float]:
    """Limits of a linear axis: around the ideal and the middle 98 % of the finite values, with a margin.

    So an explosion at the end does not flatten what was before it.
    """
    low, high = np.quantile(values[np.isfinite(values)], [0.01, 0.99])
    if ideal is not None:
        low, high = min(low, ideal), max(high, ideal)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def decades(values: np.ndarray, references: Sequence[float] = ()) -> tuple[float, float]:
    """Limits of a logarithmic axis: whole decades, from FLOOR on, around references and all but the greatest 1 %."""
    values = values[np.isfinite(values)]
    low = max(FLOOR, min([values.min(), *references]))
    high = max([np.quantile(values, 0.99), *references])
    lowest = math.floor(math.log10(low))
    return 10.0**lowest, 1.2 * 10.0 ** max(math.ceil(math.log10(max(high, low))), lowest + 1)
