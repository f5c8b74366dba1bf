"""For the tests of the figures: the files that are drawn, and a figure to look into."""

from contextlib import contextmanager

import matplotlib.pyplot as plt
import pandas as pd
import report_evidence as evidence
import report_fixture as fixture

from visrec.experiment.trials import Trial
from visrec.report import TABLES, style
from visrec.report.figures.write import figures
from visrec.report.tables import tables


def draw(root, trials, values):
    """Draw the figures of made-up results: name -> SVG."""
    results = fixture.build(root, trials, values)
    files = {name: results / "tables" / file for name, file in TABLES.items()}
    tables(fixture.experiment(results, trials, ["knn", "svm"]), files)
    evidence.write_atlas(results / "tables", trials, values)
    figures(results / "tables", results, trials, results / "figures")
    return read(results / "figures")


def read(folder):
    """The figures below a folder: name -> SVG."""
    return {path.name: path.read_text() for path in folder.rglob("*.svg")}


@contextmanager
def look(draw_one, *args, theme="light", **more):
    """A figure in the look of a theme, closed at the end."""
    with plt.rc_context(style.settings(theme) | {"figure.constrained_layout.use": True}):
        figure = draw_one(*args, theme=theme, **more)
        try:
            yield figure
        finally:
            plt.close(figure)


def changed(trial, name="", grid=(), axes=(), **options):
    """A trial with other options, another end of its name, and other axes and grid if they are given."""
    about = (trial.dataset, trial.size, trial.encoder, {**trial.options, **options}, trial.seed, trial.name + name)
    return Trial(*about, tuple(axes or trial.axes), tuple(grid or trial.grid))


LIMITS = [f"val_{name}_{end}" for name in ("knn_accuracy", "svm_accuracy") for end in ("low", "high")]


def grid_rows(trials, values, chosen):
    """Rows of grid.csv, with the precision on validation of each trial; the one of this name is chosen."""
    return pd.DataFrame(
        [
            {**trial.options, "encoder": "age", "trial": trial.name, "val_precision": value, "status": "ok"}
            | {"chosen": trial.name == chosen, "beside_chosen": "" if trial.name == chosen else "not resolved"}
            | dict.fromkeys(LIMITS, float("nan"))
            for trial, value in zip(trials, values, strict=True)
        ]
    )


def many_settings(count):
    """Trials that change one option each, with grid.csv: the last has the best precision and the worst accuracy."""
    options = [f"option{number}" for number in range(count)]
    trials = [
        changed(
            fixture.age(1000, 10), f"+{own}~1", ["lambda_z", "mu_x", *options], [own],
            **{other: int(other == own) for other in options},
        )
        for own in options
    ]  # fmt: skip
    rows = grid_rows(trials, [number / 100 for number in range(count)], trials[0].name)
    return trials, rows.assign(val_knn_accuracy=1 - rows["val_precision"], val_svm_accuracy=float("nan"))
