"""What several figures draw with: widths, the dashed line, a caption, line breaks, and a figure of words."""

import re
import textwrap

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


def wrapped(text: str, width: int) -> str:
    """A list of options in lines of about `width` letters, broken after commas only."""
    tied = re.sub("(?<!,) ", "\N{NO-BREAK SPACE}", text)
    lines = textwrap.fill(tied, width, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ")
