"""Write every figure as SVG, one set per dataset and size, in the light and the dark look.

SVG throughout: with some 60 readings per training a figure is 20 to 60 kB, a PNG of the same sharpness on a phone's
screen is more, and a file's name must not depend on what is in it.
"""

import io
import json
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from visrec.data.csv_files import read_table
from visrec.data.files import write_text
from visrec.data.models import USABLE
from visrec.experiment.trials import Trial
from visrec.report import FIGURES, style
from visrec.report.figures.atlas import atlas
from visrec.report.figures.curves import curves, read_history
from visrec.report.figures.drawing import PHONE, WIDE, described
from visrec.report.figures.heatmap import heatmap
from visrec.report.figures.layers import layers
from visrec.report.figures.leaderboard import leaderboard
from visrec.report.headline import GROUP
from visrec.report.sections import chosen_without
from visrec.report.settings import setting, varied_names

PATHS = re.compile(r' d="([^"]+)"')
LETTERS = re.compile(r"\s*([A-Za-z])\s*")
SPACES = re.compile(r"\s+")
NUMBERS = re.compile(r"\d+\.\d{2,}")


def figures(tables_dir: str | Path, results_dir: str | Path, trials: Sequence[Trial], out: str | Path) -> None:
    """Draw `visrec.report.FIGURES` for every dataset and size, under `out`/{dataset}/{size}px/.

    Args:
        tables_dir: where `tables.tables` wrote.
        results_dir: results/{experiment}.
        trials: as for `tables.tables`.
        out: the folder of the figures.
    """
    tables_dir = Path(tables_dir)
    leaders, grid, layer_rows, atlases, selected = (
        read_table(tables_dir / f"{name}.csv", text=varied_names(trials) if name == "grid" else ())
        for name in ("leaderboard", "grid", "layers", "atlas", "selection")
    )
    for dataset, size in dict.fromkeys((trial.dataset, trial.size) for trial in trials):
        here = [trial for trial in trials if (trial.dataset, trial.size) == (dataset, size)]
        board, cells_here, layers_here, atlas_here, selected_here = (
            table[(table["dataset"] == dataset) & (table["size"] == size)]
            for table in (leaders, grid, layer_rows, atlases, selected)
        )
        shown, mapped = (
            board[[*GROUP, "trial"]].merge(table, on=[*GROUP, "trial"]) for table in (layers_here, atlas_here)
        )
        histories = [(trial, history) for trial in here if (history := read_history(results_dir, trial)) is not None]
        picked = {(row["encoder"], row["trial"]) for row in board.to_dict("records") if row["status"] in USABLE}
        chosen = {trial.encoder: setting(trial) for trial in here if (trial.encoder, trial.name) in picked}
        choices = chosen_without(selected_here)
        ranked = _ranked(cells_here, here)
        heat = partial(heatmap, cells_here, here, choices=choices, k=board["k"].iloc[0])
        draw: dict[str, Callable[[str], Figure]] = {
            "leaderboard": partial(leaderboard, board),
            "heatmap": partial(heat, columns=3, width=WIDE),
            "heatmap-narrow": heat,
            "curves": partial(curves, histories, chosen, columns=4, width=WIDE, ranked=ranked),
            "curves-narrow": partial(curves, histories, chosen, columns=2, width=PHONE, ranked=ranked),
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


def _ranked(grid: pd.DataFrame, trials: Sequence[Trial]) -> dict[str, list[str]]:
    """Encoder -> its settings by precision on validation, the best first, from the rows of grid.csv."""
    texts = {(trial.encoder, trial.name): setting(trial) for trial in trials}
    found = {}
    for encoder, rows in grid.groupby("encoder", sort=False):
        means = rows["val_precision"].groupby([texts[encoder, name] for name in rows["trial"]], sort=False).mean()
        found[encoder] = list(means.dropna().sort_values(ascending=False, kind="stable").index)
    return found


def _save(figure: Figure, path: Path) -> None:
    drawn, metadata = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    if about := described(figure):
        metadata["Description"] = json.dumps(about, ensure_ascii=False)
    # `savefig` would draw it twice, the first time for its layout alone, which is made here, too.
    FigureCanvasSVG(figure).print_svg(drawn, metadata=metadata)
    plt.close(figure)
    write_text(path, PATHS.sub(_shorten, drawn.getvalue()))


def _shorten(path: re.Match[str]) -> str:
    """A path in tenths of a point, without needless spaces: finer than a screen, and a third of the file."""
    rounded = NUMBERS.sub(lambda number: f"{float(number[0]):.1f}", path[1].strip())
    tight = SPACES.sub(",", LETTERS.sub(r"\1", rounded))
    return f' d="{tight}"'
