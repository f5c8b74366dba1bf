"""Evaluators: one file each, found by name, that turn embeddings into scores.

An evaluator declares `OPTIONS` (option -> JSON Schema with `default` and `description`) and has
`evaluate(embeddings, options, seed, device) -> list[Score]`. It says what was measured and what each query scored;
values, intervals and files are made here, the same way for all.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from visrec.data.embeddings import Embeddings, read_embeddings
from visrec.data.files import atomic
from visrec.data.hdf5 import SPLITS
from visrec.data.query_scores import write_query_scores
from visrec.errors import UserError
from visrec.experiment import fits, registry
from visrec.scoring import intervals

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

KEYS = ["protocol", "metric", "split", "k", "distance", "features", "average", "duplicates"]
COLUMNS = [*KEYS, "value", "low", "high", "n", "chance", "majority", "status"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One row of scores.

    Attributes:
        split, metric: what was measured, on which queries.
        k: number of neighbours, or None.
        chance: expected value of this metric on this split if features say nothing, or None.
        majority: value of the constant answer "the commonest class of train" (accuracies), or None.
        average: "micro", the mean over queries, or "macro", the mean over classes of the class means.
        distance: "l2" or "cosine" between features; "" where no distance is meant.
        features: what was done to them: "raw", "standardised" and so on, see `visrec.scoring.transforms`.
        duplicates: "kept", or "dropped": near duplicates of the query are not in its gallery.
        protocol: whose rules were followed; "visrec" for our own, see `visrec.scoring.protocols`.
        queries: float64 (n,), the score of each query in the order of the split's rows, NaN where it has none; or None.
            Where there are several rows, (G, n), the score is the mean over rows of their means.
        value, low, high, n: given where there is no `queries`; limits of the 95 % interval, NaN where there is none.
        status: "ok", or why there is no value.
    """

    split: str
    metric: str
    k: int | None = None
    chance: float | None = None
    majority: float | None = None
    average: str = "micro"
    distance: str = ""
    features: str = ""
    duplicates: str = "kept"
    protocol: str = "visrec"
    queries: np.ndarray | None = None
    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    n: int | None = None
    status: str = "ok"

    def key(self) -> dict[str, Any]:
        """What tells this row from the others: the columns `KEYS`."""
        return {name: getattr(self, name) for name in KEYS}


def evaluate(
    name: str,
    embeddings_path: str | Path,
    options: Mapping[str, Any],
    seed: int,
    device: "torch.device",
    out_csv: str | Path,
    out_queries: str | Path,
) -> None:
    """Score embeddings.h5 with one evaluator.

    Args:
        name: the evaluator.
        embeddings_path: embeddings.h5.
        options: all of its options.
        seed: of the evaluator's own random choices.
        device: where to compute.
        out_csv: the file to write, with the columns `COLUMNS`.
        out_queries: the file to write with the scores of each query, see `write_query_scores`; those of splits
            val and test, and of rows with one score per query.

    Raises:
        UserError: there is no such evaluator, embeddings.h5 cannot be read, its features are not finite, or labels
            are missing.
    """
    embeddings = read_embeddings(embeddings_path)
    check(embeddings, embeddings_path)
    component = registry.load("evaluators", name)
    bounds = fits.limits(len(embeddings.splits["train"].ids))
    options = fits.fitted(registry.declared("evaluators", name)["OPTIONS"], options, bounds)
    scores = component.evaluate(embeddings, options, seed, device)
    lists = component.lists(embeddings) if hasattr(component, "lists") and embeddings.status == "ok" else None
    with atomic(out_csv) as temporary:
        table = pd.DataFrame(rows(scores, embeddings), columns=COLUMNS)
        table.astype({"k": "Int64", "n": "Int64"}).to_csv(temporary, index=False)
    kept = {split: _kept(scores, split) for split in ("val", "test")}
    write_query_scores(
        out_queries,
        {split: (embeddings.splits[split].ids, embeddings.splits[split].labels) for split in kept},
        {split: [score.key() for score in found] for split, found in kept.items()},
        {
            split: np.array([score.queries for score in found]).reshape(len(found), len(embeddings.splits[split].ids))
            for split, found in kept.items()
        },
        lists,
    )


def _kept(scores: Sequence[Score], split: str) -> list[Score]:
    """The rows with one score per query; macro averages are made of the same ones as micro averages."""
    return [
        score
        for score in scores
        if score.split == split and score.average == "micro" and score.queries is not None and score.queries.ndim == 1
    ]


def check(embeddings: Embeddings, where: str | Path) -> None:
    """Refuse features that are not finite though the status says "ok".

    Raises:
        UserError: naming file, split and row.
    """
    if embeddings.status != "ok":
        return
    for name, split in embeddings.splits.items():
        # The sum of a row is finite if the row is, save for overflow: only then are all values looked at.
        with np.errstate(over="ignore", invalid="ignore"):
            suspects = np.flatnonzero(~np.isfinite(split.features.sum(axis=1)))
        bad = suspects[~np.isfinite(split.features[suspects]).all(axis=1)]
        if len(bad):
            raise UserError(
                f"{where}: {len(bad)} embeddings of {name} are not finite, the first that of '{split.ids[bad[0]]}', "
                "though status is ok; delete the file and run embed again"
            )


def class_counts(embeddings: Embeddings) -> dict[str, np.ndarray]:
    """Number of images of each class, int64 (C,), by split.

    Raises:
        UserError: a split has no images, or images without labels; or all training images are of one class.
    """
    counts = {}
    for name, split in embeddings.splits.items():
        if not len(split.labels):
            raise UserError(f"split '{name}' has no images to score; give it some in the dataset's split options")
        missing = np.count_nonzero(split.labels < 0)
        if missing:
            raise UserError(
                f"labels are missing for {missing} of {len(split.labels)} images of split '{name}'; "
                "scores need labels: sort the images into one folder per class, or leave the evaluators out"
            )
        counts[name] = np.bincount(split.labels, minlength=len(embeddings.classes))
        present = np.flatnonzero(counts[name])
        if len(present) == 1 and name == "train":
            raise UserError(
                f"the training images are all of one class, '{embeddings.classes[present[0]]}': any answer would be "
                "right; sort them into at least two classes, or leave the evaluators out"
            )
        if len(present) == 1:
            only = embeddings.classes[present[0]]
            log.warning("the images of %s are all of class '%s': to answer that always is right", name, only)
    return counts


def rows(scores: Sequence[Score], embeddings: Embeddings) -> list[dict[str, Any]]:
    """Tidy rows (`COLUMNS`) with values and 95 % bootstrap intervals over queries.

    Queries are drawn in the order of their ids and with one seed for all trials, so that intervals do not depend on
    the order of rows, and comparisons are paired.
    """
    sizes = {split: len(part.ids) for split, part in embeddings.splits.items()}
    numbers = [
        (score.value, score.low, score.high, sizes[score.split] if score.n is None else score.n) for score in scores
    ]
    for split in SPLITS:
        order = np.argsort(embeddings.splits[split].ids)
        labels = embeddings.splits[split].labels[order]
        here = [i for i, score in enumerate(scores) if score.split == split and score.queries is not None]
        for average, groups in (("micro", None), ("macro", labels)):
            which = [i for i in here if scores[i].queries.ndim == 1 and scores[i].average == average]
            if which:
                table = np.stack([scores[i].queries[order] for i in which])
                found = zip(*intervals.summary(intervals.resample(table, intervals.SEED, groups)), strict=True)
                for i, limits, count in zip(which, found, np.isfinite(table).sum(axis=1), strict=True):
                    numbers[i] = (*limits, count)
        for i in here:
            if scores[i].queries.ndim == 2:
                limits = intervals.over_groups(scores[i].queries[:, order], intervals.SEED)
                numbers[i] = (*limits, int(np.isfinite(scores[i].queries).any(axis=0).sum()))
    return [
        score.key()
        | dict(zip(("value", "low", "high", "n"), number, strict=True))
        | {"chance": score.chance, "majority": score.majority, "status": score.status}
        for score, number in zip(scores, numbers, strict=True)
    ]
