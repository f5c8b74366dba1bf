"""One look for every figure and for the page: colours, sizes, matplotlib's settings. Literals only, nothing is drawn.

Colours keep apart for the common kinds of colour blindness (after Okabe and Ito) and stand out at least 3:1 from their
ground. Each encoder has one colour in every figure and on the page.
"""

import zlib
from collections.abc import Iterable
from typing import Any

THEMES = ("light", "dark")
GROUND = {"light": "#fdfcf9", "dark": "#161514"}
INK = {"light": "#1d1b19", "dark": "#ece8e1"}
MUTED = {"light": "#6a655e", "dark": "#a39d94"}
RULE = {"light": "#e2ddd4", "dark": "#38342f"}
ACCENT = {"light": "#b8400a", "dark": "#ff9a5e"}
HEALTHY = {"light": "#dcebdd", "dark": "#20342a"}

# encoder: (light, dark)
ENCODERS = {
    "age": ("#b8400a", "#ff9a5e"),
    "pca": ("#0068a8", "#62b6ee"),
    "pixels": ("#00775a", "#48c79d"),
    "random": ("#6a655e", "#a8a29a"),
    "precomputed": ("#8a4a86", "#d7a0d2"),
}
SPARE = (
    ("#8f6500", "#e3b341"),
    ("#a5316c", "#f291bf"),
    ("#4b5bb5", "#a3b0ff"),
    ("#5c6b12", "#bccb5b"),
    ("#00707f", "#5cc7d6"),
)
# Lines of one figure: settings of a grid, told apart by colour and by dash.
LINES = {
    "light": ("#b8400a", "#0068a8", "#00775a", "#8a4a86", "#8f6500", "#4b5bb5"),
    "dark": ("#ff9a5e", "#62b6ee", "#48c79d", "#d7a0d2", "#e3b341", "#a3b0ff"),
}
# Points of a map by their class, beside a letter each: (light, dark).
CLASSES = (*ENCODERS.values(), *SPARE)
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


def encoder_colours(encoders: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour of each encoder as (light, dark).

    Encoders without a colour of their own get a spare one by a checksum of their name, so that the same set of encoders
    is always coloured alike; more than five of them share.
    """
    colours: dict[str, tuple[str, str]] = {}
    taken: set[int] = set()
    for encoder in sorted(set(encoders)):
        if encoder in ENCODERS:
            colours[encoder] = ENCODERS[encoder]
            continue
        place = zlib.crc32(encoder.encode()) % len(SPARE)
        while place in taken and len(taken) < len(SPARE):
            place = (place + 1) % len(SPARE)
        taken.add(place)
        colours[encoder] = SPARE[place]
    return colours


def settings(theme: str) -> dict[str, Any]:
    """Matplotlib's rcParams for a theme, "light" or "dark"; sizes in points and inches."""
    ink, muted, rule, ground = INK[theme], MUTED[theme], RULE[theme], GROUND[theme]
    return {
        "figure.facecolor": ground,
        "savefig.facecolor": ground,
        "axes.facecolor": ground,
        "axes.edgecolor": rule,
        "axes.labelcolor": muted,
        "axes.titlecolor": ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlepad": 7,
        "axes.labelsize": 8.5,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "grid.color": rule,
        "grid.linewidth": 0.6,
        "text.color": ink,
        "xtick.color": rule,
        "ytick.color": rule,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "lines.linewidth": 1.4,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.fontsize": 8,
        "hatch.linewidth": 0.5,
        "font.family": "sans-serif",
        "font.sans-serif": ["Helvetica Neue", "Segoe UI", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
        "font.size": 8.5,
        # Text stays text, so that it can be read aloud and searched; a fixed salt makes the files repeatable.
        "svg.fonttype": "none",
        "svg.hashsalt": "visrec",
    }
