"""What the linear probes share: a linear rule is fitted to the training embeddings and predicts the class of others.

Features are standardised on train, which is what gives C its meaning; C is chosen by accuracy on val; test is read
once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from visrec.data.embeddings import Embeddings
from visrec.data.hdf5 import SPLITS
from visrec.evaluators import Score, class_counts
from visrec.scoring import linear_probe
from visrec.scoring.chance import majority
from visrec.scoring.moments import mean_and_scale

NOT_CONVERGED = "not converged"
SHUFFLES = 3  # of the control: with ten classes, one more pass over the features serves them all


def evaluate(
    embeddings: Embeddings, C_grid: Sequence[float], loss: str, device: torch.device, control_seed: int | None = None
) -> list[Score]:
    """Accuracy of a probe on each split, micro and macro (balanced accuracy), and `chosen_C`, the value of C.

    With `control_seed` also `accuracy_shuffled` on test: the same with the labels of train shuffled, at the chosen C;
    what the probe finds where there is nothing to find. It is the mean over `SHUFFLES` shuffles, `accuracy_shuffled_sd`
    their standard deviation. Scores whose solver did not converge have the status "not converged" and no value.

    Args:
        embeddings: with labels.
        C_grid: weights of the loss to choose from; the smallest of the best on val is taken.
        loss: see `linear_probe.fit`.
        device: where to compute.
        control_seed: of the shuffles.

    Raises:
        UserError: labels are missing, or train has one class only.
    """
    counts = class_counts(embeddings)
    scores = list(_rows(counts, control_seed is not None))
    if embeddings.status != "ok":
        return [replace(score, status=embeddings.status) for score in scores]

    train = embeddings.splits["train"]
    prepared = linear_probe.prepare(train.features, device, *mean_and_scale(train.features))
    chosen = linear_probe.fit_best(
        prepared, train.labels, C_grid, lambda solution: _correct(embeddings, "val", solution).mean(), loss
    )
    if chosen is None:
        return [replace(score, status=NOT_CONVERGED) for score in scores]
    correct = {("accuracy", split): _correct(embeddings, split, chosen) for split in SPLITS}
    values = {"chosen_C": chosen.C}
    if control_seed is not None:
        labellings = shuffles(train.labels, train.ids, control_seed)
        paths = linear_probe.fit_labellings(prepared, labellings, [chosen.C], chosen.classes, loss)
        if all(control.converged for (control,) in paths):
            found = np.stack([_correct(embeddings, "test", control) for (control,) in paths])
            correct["accuracy_shuffled", "test"] = found.mean(axis=0)
            values["accuracy_shuffled_sd"] = float(found.mean(axis=1).std(ddof=1))
    done = []
    for score in scores:
        if score.metric in values:
            done.append(replace(score, value=values[score.metric]))
        elif (score.metric, score.split) in correct:
            done.append(replace(score, queries=correct[score.metric, score.split]))
        else:
            done.append(replace(score, status=NOT_CONVERGED))
    return done


def shuffles(labels: np.ndarray, ids: np.ndarray, seed: int) -> np.ndarray:
    """Labels int64 (N,) dealt anew to the images by their ids, whatever the order of rows: int64 (`SHUFFLES`, N)."""
    order, random = np.argsort(ids), np.random.default_rng(seed)
    dealt = np.empty((SHUFFLES, len(labels)), labels.dtype)
    for row in dealt:
        row[order] = random.permutation(labels[order])
    return dealt


def _rows(counts: Mapping[str, np.ndarray], control: bool) -> Iterator[Score]:
    """What is scored, with what chance and the constant answer would give."""
    for split in SPLITS:
        classes = len(counts["train"])
        about: dict[str, Any] = {"split": split, "features": "standardised", "chance": 1 / classes}
        constant, macro = (majority(counts["train"], counts[split], average) for average in ("micro", "macro"))
        yield Score(metric="accuracy", majority=constant, **about)
        yield Score(metric="accuracy", average="macro", majority=macro, **about)
        if control and split == "test":
            yield Score(metric="accuracy_shuffled", majority=constant, **about)
            yield Score(metric="accuracy_shuffled_sd", split=split, features="standardised", n=SHUFFLES)
    yield Score(metric="chosen_C", split="val", features="standardised")


def _correct(embeddings: Embeddings, split: str, solution: linear_probe.Solution) -> np.ndarray:
    """Whether each image of a split is predicted right, float64 (N,)."""
    part = embeddings.splits[split]
    return (solution.predict(part.features) == part.labels).astype(np.float64)
