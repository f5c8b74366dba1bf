"""What several figures draw with: widths, the dashed line, a caption, line breaks, and a figure of words."""

import re
import textwrap
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from visrec.report import style

matplotlib.use("Agg")  # without a display

WIDE, COLUMN, PHONE = 10.6, 4.2, 3.75  # inches, of a figure
DASHED = (0, (4, 3))


def nothing(words: str, width: float = COLUMN) -> Figure:
    """A figure that says in words why there is nothing to draw."""
    figure = plt.figure(figsize=(width, 0.9))
    figure.text(0.02, 0.5, words, va="center", ha="left", color=plt.rcParams["axes.labelcolor"], wrap=True)
    return figure


def caption(figure: Figure, text: str, theme: str) -> None:
    """A line below a figure that explains it."""
    figure.supxlabel(text, fontsize=8, color=style.MUTED[theme], x=0.01, ha="left")


def described(figure: Figure) -> dict[str, str | dict[str, Any]]:
    """What a reader may want to know of panels and curves that have a gid, for who reads the SVG.

    Returns:
        gid of a line -> its label; gid of axes -> title, the limits `x` and `y`, and whether y is logarithmic, `log`.
    """
    about: dict[str, str | dict[str, Any]] = {}
    for axis in figure.axes:
        if axis.get_gid() is None:
            continue
        about[axis.get_gid()] = {
            "title": axis.get_title(loc="left").replace("\n", " "),
            "x": [float(f"{end:.6g}") for end in axis.get_xlim()],
            "y": [float(f"{end:.6g}") for end in axis.get_ylim()],
            "log": axis.get_yscale() == "log",
        }
        plain = {line.get_gid(): line.get_label().replace("\n", " ") for line in axis.lines if line.get_gid()}
        about |= {gid: label.replace(r"\$", "$") for gid, label in plain.items()}  # as before `wrapped`
    return about


def wrapped(text: str, width: int) -> str:
    """A list of options in lines of about `width` letters, broken after commas only; no formula to Matplotlib."""
    tied = re.sub("(?<!,) ", "\N{NO-BREAK SPACE}", text.replace("$", r"\$"))
    lines = textwrap.fill(tied, width, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ")
