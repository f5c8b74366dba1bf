"""The report's embedding map: where each encoder puts some test pictures, in two dimensions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visrec.data.csv_files import read_table
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.report import style
from visrec.report.sprites import Pictures

WIDTH, HEIGHT, MARGIN = 640, 480, 16  # of the drawing, in its own units
METHODS = {"tsne": "t-SNE", "pca": "PCA"}  # the first is shown first, if it is there
TEXT = ("id", "label")


def embedding_map(experiment: Experiment, chapter: Mapping[str, Any], pictures: Pictures) -> dict[str, Any] | None:
    """What the page draws of a chapter's embeddings, as plain data; None if no encoder has points.

    Args:
        experiment: with the shown trial of each encoder.
        chapter: with info (of images.h5) and `first`, the encoder that is shown first, if any.
        pictures: gets the pictures of the points.

    Returns:
        points: numbers of the pictures; marks: for each point a number into `legend`, -1 if classes are too many to
        tell apart or there are none; legend: mark and label of each class; methods: what they are called; width and
        height of the drawing; encoders: name of each that has points, and `maps` by method: `places` of the points,
        (x, y) in the drawing or None, and `trust`, its trustworthiness as text; first: number of the encoder that is
        shown first.
    """
    tables = {trial.encoder: _read(experiment.path(trial, layout.PROJECTION)) for trial in experiment.trials}
    tables = {encoder: table for encoder, table in tables.items() if len(table)}
    if not tables:
        return None
    labels: dict[str, str] = {}
    for table in tables.values():
        for name, label in zip(table["id"], table["label"], strict=True):
            labels.setdefault(name, label)
    present = [name for name in chapter["info"].classes if name in set(labels.values())]
    signs = marks(present) if len(present) <= len(style.CLASSES) else []
    legend = dict(zip(present, signs, strict=False))
    number = {name: index for index, name in enumerate(legend)}
    names = list(tables)
    return {
        "points": [pictures.number("test", name, label) for name, label in labels.items()],
        "marks": [number.get(label, -1) for label in labels.values()],
        "legend": [{"mark": mark, "label": name} for name, mark in legend.items()],
        "methods": METHODS,
        "width": WIDTH,
        "height": HEIGHT,
        "encoders": [
            {"name": encoder, "maps": {method: _map(table, method, labels) for method in METHODS}}
            for encoder, table in tables.items()
        ],
        "first": names.index(chapter["first"]) if chapter["first"] in names else 0,
    }


def _read(path: Path) -> pd.DataFrame:
    """projection.csv; an empty table if it is not there."""
    if not path.exists():
        return pd.DataFrame(columns=["id", "label"])
    numbers = [f"{method}_{what}" for method in METHODS for what in ("x", "y", "trustworthiness")]
    return read_table(path, needed=[*TEXT, *numbers], text=TEXT)


def marks(classes: Sequence[str]) -> list[str]:
    """A letter or digit for each class: its first where these differ, else A, B, C and so on."""
    firsts = [name[:1].upper() for name in classes]
    if all(first.isalnum() for first in firsts) and len(set(firsts)) == len(firsts):
        return firsts
    return [chr(ord("A") + number) for number in range(len(classes))]


def _map(table: pd.DataFrame, method: str, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """A map of the points of `labels`, in their order; None if the method gave none."""
    own = table.set_index("id").reindex(list(labels))
    points = own[[f"{method}_x", f"{method}_y"]].to_numpy(np.float64)
    if not np.isfinite(points).any():
        return None
    trust = own[f"{method}_trustworthiness"].dropna()
    return {
        "places": [
            None if np.isnan(one).any() else [float(each) for each in one.round(1)] for one in into_drawing(points)
        ],
        "trust": f"{trust.iloc[0]:.2f}" if len(trust) else "",
    }


def into_drawing(points: np.ndarray) -> np.ndarray:
    """Bring points into the drawing, both axes on one scale, y upwards; NaN stays.

    Args:
        points: float64 (n, 2), some of it finite.

    Returns:
        float64 (n, 2), x in [MARGIN, WIDTH - MARGIN] and y in [MARGIN, HEIGHT - MARGIN], from the upper left corner.
    """
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
    spread = (high - low) / room
    scale = spread.max() or 1.0  # all are one point
    return (points - (low + high) / 2) / scale * [1, -1] + np.array([WIDTH, HEIGHT]) / 2
