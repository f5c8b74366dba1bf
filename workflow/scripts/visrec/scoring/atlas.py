"""Which layer carries the information, and which one dominates the distance.

Every hidden layer of an encoder, pooled in every way, its output and several stacks of them are scored on the same
images: by the k nearest neighbours in L2, and by a linear SVM. Nothing is trained again: one pass over the images with
each of the two batch norm statistics gives all of it. Gallery and SVM use images of train, queries are of val, because
the table is there to choose by.

Variants, each with the layers it is made of and how these are pooled:
    alone       one hidden layer, by each pooling of `visrec.networks.stack.POOLING`; a map of at most 4x4 has no grid
    output      the latent
    stack       the seed paper's stack, see `visrec.networks.stack`
    hidden      the same without the output
    stack-max   the stack with maxima in the place of averages
    stack-grid  all hidden layers, each pooled to 4x4, and the output
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from visrec.data.files import atomic
from visrec.data.hdf5 import IMAGES, reading
from visrec.data.images import ImageFile, ImageSplit
from visrec.data.models import Model
from visrec.errors import UserError
from visrec.experiment.trials import Spec
from visrec.jobs import progress
from visrec.networks import stack
from visrec.scoring import intervals, linear_probe, metrics, neighbours
from visrec.scoring.moments import mean_and_scale, moments
from visrec.scoring.queries import first_by_digest
from visrec.training import models

K = 3
C_GRID = [1e-6, 1e-4, 1e-2]
WIDEST = 4500  # values that the SVM is fitted on: the paper's stack at 32 px has 4416, wider ones take minutes each
ROWS_AT_ONCE = 1024
COLUMNS = [
    *["batchnorm", "variant", "pooling", "layers", "dimensions", "k"],
    *["precision", "low", "high", "n", "chance", "lift", "probe", "probe_low", "probe_high", "probe_n"],
    *["share_of_dimensions", "share_of_distance", "note"],
]

Atom = tuple[str, str]  # a layer and how it is pooled


def write(
    spec: Spec,
    images_path: str | Path,
    model: Model | None,
    device: torch.device,
    out_csv: str | Path,
    images: int = 10_000,
    queries: int = 2_000,
) -> None:
    """Score the layers of an encoder, alone and stacked, and write the rows as CSV.

    The columns:
        batchnorm             "running" or "reestimated", see `visrec.networks.stack.feature_maps`
        variant, pooling, layers, dimensions
                              see above; layers are joined by "+", pooling is of those that the variant pools
        k, precision, low, high, n, chance, lift
                              precision@k of n queries with its 95 % interval, see `visrec.scoring.metrics`
        probe, probe_low, probe_high, probe_n
                              accuracy of a linear SVM on standardised features with its interval: of the queries in the
                              order of the SHA-256 of their ids, the first half chooses C, the others are scored
        share_of_dimensions, share_of_distance
                              of the members of `stack` alone: their share of its values, and of the mean squared L2
                              distance between images of the gallery (their share of the total variance)
        note                  why there is no probe

    The features of one pass are in temporary files on the disk of `out_csv`, with the defaults 1.6 GB at 32 px and
    6.3 GB at 64 px. They have no names, so nothing of them is left when the process ends, in whatever way.

    Args:
        spec: of an encoder that declares ATLAS; its batch norm and pooling are not used. Its seed is the bootstrap's.
        images_path: images.h5.
        model: what `fit` or `train` wrote, or None for an encoder that has neither; with a status other than "ok" there
            is only the header.
        device: where maps, distances and SVMs are computed.
        out_csv: the file to write.
        images: size of the gallery; all of train if it has fewer. The choice is by the SHA-256 of the ids.
        queries: number of queries from val, in the same way.

    Raises:
        UserError: train or val has no images or images without labels, the gallery has fewer than k images, a feature
            is not finite, or the disk is full.
    """
    rows = []
    with atomic(out_csv) as temporary:
        if model is None or model.status_of() == "ok":
            gallery, asked = _sample(images_path, "train", images), _sample(images_path, "val", queries)
            source = ImageFile(images_path)
            for batchnorm in ("running", "reestimated"):
                maps = models.maps(spec, model.file if model else None, source, device, batchnorm)
                found = score(maps, gallery, asked, spec.seed, device, temporary.parent)
                rows += [{"batchnorm": batchnorm, **row} for row in found]
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)


def score(
    maps: Callable[[np.ndarray], Mapping[str, Tensor]],
    gallery: ImageSplit,
    queries: ImageSplit,
    seed: int,
    device: torch.device,
    folder: Path,
) -> list[dict[str, Any]]:
    """The rows of one set of maps: `COLUMNS` without `batchnorm`.

    Args:
        maps: see `visrec.networks.stack.feature_maps`.
        gallery: images with labels.
        queries: images with labels, in the order in which the first half chooses C.
        seed: of the bootstrap.
        device: where distances and SVMs are computed.
        folder: for temporary files.
    """
    rows = []
    with _atoms(maps, gallery.images, folder) as known, _atoms(maps, queries.images, folder) as asked:
        layers = [*dict.fromkeys(layer for layer, _ in known)]
        shares = _shares(known, [*stack.members(layers, "average").items()], len(gallery.labels))
        variants = _variants(layers, known.keys())
        with progress.bar(total=len(variants), desc="scoring layers", unit="variant") as bar:
            for variant, pooling, members in variants:
                described = {
                    "variant": variant,
                    "pooling": pooling,
                    "layers": "+".join(layer for layer, _ in members),
                    **(shares.get(members[0], {}) if len(members) == 1 else {}),
                }
                X, queried = _read(known, members, len(gallery.labels)), _read(asked, members, len(queries.labels))
                task = _Task(X, gallery.labels, queried, queries.labels)
                rows.append(described | _precision(task, seed, device) | _probe(task, seed, device))
                del X, queried, task  # before the next ones are read
                bar.update()
    return rows


def _sample(images_path: str | Path, split: str, count: int) -> ImageSplit:
    """Up to `count` images of a split, those whose ids have the smallest SHA-256, in this order."""
    with reading(images_path, IMAGES) as file:
        group = file[split]
        labels, ids, images = group["labels"][:], group["ids"].asstr()[:].astype(str), group["images"]
        if not len(ids):
            raise UserError(f"split '{split}' has no images to score; give it some in the dataset's split options")
        if (labels < 0).any():
            raise UserError(
                f"labels are missing for {np.count_nonzero(labels < 0)} of {len(labels)} images of split '{split}'; "
                "scores need labels: sort the images into one folder per class, or leave the evaluators out"
            )
        rows = first_by_digest(ids, count)
        chosen = np.empty((len(rows), *images.shape[1:]), np.uint8)
        for start in range(0, len(images), ROWS_AT_ONCE):
            here = (start <= rows) & (rows < start + ROWS_AT_ONCE)
            chosen[here] = images[start : start + ROWS_AT_ONCE][rows[here] - start]
    return ImageSplit(chosen, labels[rows], ids[rows])


def _poolings(maps: Tensor) -> list[str]:
    """The poolings that differ: one for a vector (B, M), no grid for maps that are at most as large as it."""
    if maps.ndim == 2:
        return ["flatten"]
    return [name for name in stack.POOLING if name != "grid" or max(maps.shape[2:]) > stack.GRID]


@contextmanager
def _atoms(
    maps: Callable[[np.ndarray], Mapping[str, Tensor]], images: np.ndarray, folder: Path
) -> Iterator[dict[Atom, BinaryIO]]:
    """Files of every layer in every pooling, float32 (N, D): together they can exceed the memory."""
    files: dict[Atom, BinaryIO] = {}
    with ExitStack() as opened:
        with progress.bar(total=len(images), desc="pooling layers", unit="img") as bar:
            for start in range(0, len(images), stack.BATCH):
                batch = images[start : start + stack.BATCH]
                for atom, features in _pooled(maps(batch)):
                    if atom not in files:
                        files[atom] = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                    files[atom].write(features)
                bar.update(len(batch))
        for file in files.values():
            file.flush()
        yield files


def _pooled(maps: Mapping[str, Tensor]) -> Iterator[tuple[Atom, np.ndarray]]:
    for layer, each in maps.items():
        if not torch.isfinite(each).all():
            raise UserError(f"atlas: a feature of layer '{layer}' is not finite; train this encoder again")
        for pooling in _poolings(each):
            yield (layer, pooling), np.ascontiguousarray(stack.POOLING[pooling](each).cpu().numpy(), np.float32)


def _variants(layers: list[str], atoms: Collection[Atom]) -> list[tuple[str, str, list[Atom]]]:
    """Variant, pooling and members of each row."""
    *_, output = layers
    paper = [*stack.members(layers, "average").items()]
    grid = [(layer, "grid" if (layer, "grid") in atoms else "flatten") for layer in layers]
    return [
        *(("output" if atom[0] == output else "alone", atom[1], [atom]) for atom in atoms),
        ("hidden", "average", paper[:-1]),
        ("stack", "average", paper),
        ("stack-max", "max", [*stack.members(layers, "max").items()]),
        ("stack-grid", "grid", grid),
    ]


def _read(files: Mapping[Atom, BinaryIO], members: list[Atom], rows: int) -> np.ndarray:
    """The features of some atoms side by side, float32 (rows, D); those of one are mapped, not read."""
    # Copy on write, as torch takes no arrays that are read-only.
    parts = [np.asarray(np.memmap(files[atom], np.float32, "c")).reshape(rows, -1) for atom in members]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _shares(files: Mapping[Atom, BinaryIO], members: list[Atom], rows: int) -> dict[Atom, dict[str, float]]:
    """Share of the values and of the total variance that each member of a stack has."""
    widths, variances = {}, {}
    for atom in members:
        features = _read(files, [atom], rows)
        widths[atom], variances[atom] = features.shape[1], float(moments(features)[1].sum())
    width, variance = sum(widths.values()), sum(variances.values())
    return {
        atom: {
            "share_of_dimensions": widths[atom] / width,
            "share_of_distance": variances[atom] / variance if variance > 0 else float("nan"),
        }
        for atom in members
    }


@dataclass(frozen=True)
class _Task:
    """What a variant is scored on: features float32 (N, D) and labels int64 (N,) of the gallery, and of the queries."""

    X: np.ndarray
    y: np.ndarray
    queries: np.ndarray
    labels: np.ndarray


def _precision(task: _Task, seed: int, device: torch.device) -> dict[str, float | int]:
    """Precision@K of the queries, searched in the gallery."""
    y, labels = task.y, task.labels
    classes = max(y.max(), labels.max()) + 1
    asked, known = (np.bincount(each, minlength=classes) for each in (labels, y))
    chance = metrics.over_classes(metrics.chance("precision", known, K), asked, "micro")
    scores = np.empty(len(labels))
    for tile in neighbours.tiles(task.queries, task.X, K, device=device):
        nearer, tied = tile.neighbours.count(y, classes, K)
        scores[tile.queries] = metrics.expected_precision(nearer, tied, labels[tile.queries], K)
    (low,), (high,) = intervals.interval(scores[None], seed)
    return {
        "dimensions": task.X.shape[1],
        "k": K,
        "precision": float(scores.mean()),
        "low": float(low),
        "high": float(high),
        "n": len(scores),
        "chance": chance,
        "lift": float(metrics.lift(scores.mean(), chance)),
    }


def _probe(task: _Task, seed: int, device: torch.device) -> dict[str, float | int | str]:
    """Accuracy of a linear SVM on half of the queries; its C, the smallest of the best, is chosen on the other half."""
    half = len(task.labels) // 2
    none = {"probe": np.nan, "probe_low": np.nan, "probe_high": np.nan, "probe_n": len(task.labels) - half}
    if task.X.shape[1] > WIDEST:
        return none | {"note": "too wide for the probe"}
    if not half:
        return none | {"note": "too few queries for the probe"}
    if len(np.unique(task.y)) < 2:
        return none | {"note": "the probe needs two classes"}

    def correct(solution: linear_probe.Solution, rows: slice) -> np.ndarray:
        return (solution.predict(task.queries[rows]) == task.labels[rows]).astype(float)

    prepared = linear_probe.prepare(task.X, device, *mean_and_scale(task.X))
    best = linear_probe.fit_best(prepared, task.y, C_GRID, lambda each: correct(each, slice(half)).mean())
    if best is None:
        return none | {"note": "the probe did not converge"}
    scored = correct(best, slice(half, None))
    (low,), (high,) = intervals.interval(scored[None], seed)
    return {
        "probe": float(scored.mean()),
        "probe_low": float(low),
        "probe_high": float(high),
        "probe_n": len(scored),
        "note": "",
    }
