"""One look for every figure and for the page: colours, shapes, sizes, matplotlib's settings. Nothing is drawn.

Each encoder has one colour and one shape in every figure and on the page. Colours stand out at least 3:1 from their
ground (after Okabe and Ito); encoders whose colours come near each other for the colour-blind differ in shape. What is
no encoder, such as links and marks, has no encoder's colour.
"""

import zlib
from collections.abc import Iterable
from typing import Any

Pair = tuple[str, str]  # (light, dark)

THEMES = ("light", "dark")
GROUND = {"light": "#fdfcf9", "dark": "#161514"}
INK = {"light": "#1d1b19", "dark": "#ece8e1"}
MUTED = {"light": "#6a655e", "dark": "#a39d94"}
RULE = {"light": "#e2ddd4", "dark": "#38342f"}
ACCENT = {"light": "#37474f", "dark": "#c3d0d8"}
HEALTHY = {"light": "#dcebdd", "dark": "#20342a"}
# Cells of a grid that are measurably better or worse than the chosen, and those that are neither.
BETTER = {"light": "#9fd0cf", "dark": "#0f5a60"}
WORSE = {"light": "#ecc98a", "dark": "#6b4a08"}
OPEN = {"light": "#ebe7df", "dark": "#2c2926"}
# CSS variable on the page -> its colour in each theme.
NAMED = {
    "--ground": GROUND,
    "--ink": INK,
    "--muted": MUTED,
    "--rule": RULE,
    "--accent": ACCENT,
    "--better": BETTER,
    "--worse": WORSE,
    "--open": OPEN,
}
FONTS = ("Helvetica Neue", "Segoe UI", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")  # of figures

ORANGE, BLUE, GREEN = ("#b8400a", "#ff9a5e"), ("#0068a8", "#62b6ee"), ("#00775a", "#48c79d")
GREY, PURPLE, AMBER = ("#6a655e", "#a8a29a"), ("#8a4a86", "#d7a0d2"), ("#8f6500", "#e3b341")
PINK, INDIGO, OLIVE = ("#a5316c", "#f291bf"), ("#4b5bb5", "#a3b0ff"), ("#5c6b12", "#bccb5b")
TEAL = ("#00707f", "#5cc7d6")

# shape: (matplotlib's marker, CSS's clip-path of a square)
SHAPES = {
    "circle": ("o", "circle(50%)"),
    "square": ("s", "inset(6%)"),
    "diamond": ("D", "polygon(50% 0, 100% 50%, 50% 100%, 0 50%)"),
    "up": ("^", "polygon(50% 2%, 100% 96%, 0 96%)"),
    "down": ("v", "polygon(0 4%, 100% 4%, 50% 98%)"),
    "left": ("<", "polygon(2% 50%, 96% 0, 96% 100%)"),
    "right": (">", "polygon(98% 50%, 4% 0, 4% 100%)"),
    "plus": ("P", "polygon(33% 0, 67% 0, 67% 33%, 100% 33%, 100% 67%, 67% 67%, 67% 100%, 33% 100%, 33% 67%, 0 67%, "
             "0 33%, 33% 33%)"),
    "cross": ("X", "polygon(22% 0, 50% 28%, 78% 0, 100% 22%, 72% 50%, 100% 78%, 78% 100%, 50% 72%, 22% 100%, 0 78%, "
              "28% 50%, 0 22%)"),
    "hexagon": ("h", "polygon(50% 0, 95% 25%, 95% 75%, 50% 100%, 5% 75%, 5% 25%)"),
    "pentagon": ("p", "polygon(50% 0, 100% 40%, 80% 100%, 20% 100%, 0 40%)"),
    "star": ("*", "polygon(50% 0, 62% 36%, 100% 36%, 69% 58%, 81% 96%, 50% 73%, 19% 96%, 31% 58%, 0 36%, 38% 36%)"),
    "bar": ("d", "polygon(50% 0, 78% 50%, 50% 100%, 22% 50%)"),
}  # fmt: skip
ENCODERS = {
    "age": (ORANGE, "circle"),
    "age_labels": (ORANGE, "cross"),
    "ali": (ORANGE, "hexagon"),
    "bigan": (OLIVE, "plus"),
    "dcgan": (OLIVE, "down"),
    "pca": (BLUE, "square"),
    "pixels": (GREEN, "diamond"),
    "precomputed": (PURPLE, "circle"),
    "pretrained": (TEAL, "down"),
    "random": (GREY, "cross"),
    "siamese": (BLUE, "hexagon"),
    "simclr": (INDIGO, "up"),
    "supcon": (PINK, "plus"),
    "supervised": (OLIVE, "square"),
    "vae": (AMBER, "up"),
    "vicreg": (AMBER, "diamond"),
}
SPARE = ((AMBER, "star"), (PINK, "left"), (INDIGO, "right"), (OLIVE, "pentagon"), (TEAL, "bar"))
# Points of a map by their class, beside a letter each: (light, dark).
CLASSES = (ORANGE, BLUE, GREEN, GREY, PURPLE, AMBER, PINK, INDIGO, OLIVE, TEAL)
# Lines of one encoder, settings of its grid: shades of its colour (towards what, by how much), and dashes.
SHADES = ((None, 0.0), (INK, 0.5), (GROUND, 0.22))
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


def looks(encoders: Iterable[str]) -> dict[str, tuple[Pair, str]]:
    """Colour and shape of each encoder.

    Encoders without a look of their own get a spare one by a checksum of their name, so that the same set of encoders
    always looks alike; more than five of them share.
    """
    found: dict[str, tuple[Pair, str]] = {}
    taken: set[int] = set()
    for encoder in sorted(set(encoders)):
        if encoder in ENCODERS:
            found[encoder] = ENCODERS[encoder]
            continue
        place = zlib.crc32(encoder.encode()) % len(SPARE)
        while place in taken and len(taken) < len(SPARE):
            place = (place + 1) % len(SPARE)
        taken.add(place)
        found[encoder] = SPARE[place]
    return found


def encoder_colours(encoders: Iterable[str]) -> dict[str, Pair]:
    """Colour of each encoder as (light, dark)."""
    return {encoder: colour for encoder, (colour, _) in looks(encoders).items()}


def markers(encoders: Iterable[str]) -> dict[str, str]:
    """Matplotlib's marker of each encoder."""
    return {encoder: SHAPES[shape][0] for encoder, (_, shape) in looks(encoders).items()}


def shades(colour: Pair, theme: str) -> list[str]:
    """The shades of an encoder's colour in a theme, the colour itself first."""
    own = colour[THEMES.index(theme)]
    return [own if towards is None else mixed(own, towards[theme], share) for towards, share in SHADES]


def mixed(a: str, b: str, share: float) -> str:
    """The colour between `a` and `b`, "#rrggbb" each, that has this share of `b`."""
    channels = ((int(one[place : place + 2], 16) for one in (a, b)) for place in (1, 3, 5))
    return "#" + "".join(f"{round((1 - share) * x + share * y):02x}" for x, y in channels)


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
        "font.sans-serif": list(FONTS),
        "font.size": 8.5,
        # Text stays text, so that it can be read aloud and searched; a fixed salt makes the files repeatable.
        "svg.fonttype": "none",
        "svg.hashsalt": "visrec",
    }
