"""Probes with few labels: the protocols under which others published, above all on SVHN.

    ali   1,000 labelled images of train, drawn at random; L2-SVM, C chosen on up to 10,000 images of val; mean and
          standard deviation over draws (Dumoulin et al., arXiv:1606.00704). DCGAN's 1,000 labels on SVHN
          (arXiv:1511.06434) are drawn evenly from the classes [secondary]; its table and ALI's are read as one ladder.
          Features are standardised on all of train, for its images are there even if their labels are not; the papers
          do not say.
    mteb  16 labelled images of each class, all there are of smaller ones; scikit-learn's logistic regression as it
          comes, on raw features; mean over five draws (MTEB: its code)

The intervals are over draws (Student's t), not over queries.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import t
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from visrec.data.embeddings import Embeddings, EmbeddingSplit
from visrec.evaluators import Score, _probe, class_counts
from visrec.jobs import progress
from visrec.scoring import linear_probe
from visrec.scoring.chance import majority
from visrec.scoring.intervals import CONFIDENCE
from visrec.scoring.moments import mean_and_scale

CLASSES = 2  # in train, at least
OPTIONS = {
    "labels": {
        "description": "Labelled images of train, of protocol ali; by default fewer where train has fewer.",
        "type": "integer",
        "minimum": 1,
        "at_most": ["train"],
        "default": 1000,
    },
    "shots": {
        "description": "Labelled images of each class, of protocol mteb.",
        "type": "integer",
        "minimum": 1,
        "default": 16,
    },
    "draws": {
        "description": "Random choices of labelled images, of protocol ali; mteb has five.",
        "type": "integer",
        "minimum": 2,
        "default": 10,
    },
    "C": {
        "description": "Weights of the SVM's loss to choose from on val.",
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0},
        "minItems": 1,
        "uniqueItems": True,
        # With fewer images each needs more weight than in `svm`.
        "default": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    },
}
TEST = {"labels": 12, "draws": 3}
HELD_OUT = 10_000  # val images on which ali's C is chosen
MTEB_DRAWS = 5
TOO_FEW = "fewer images than labels"


def evaluate(embeddings: Embeddings, options: Mapping[str, Any], seed: int, device: torch.device) -> list[Score]:
    """Accuracy on test and its standard deviation over draws (`accuracy_sd`), of each protocol.

    Args:
        embeddings: with labels.
        options: `OPTIONS`.
        seed: of the draws, which depend on ids and not on rows.
        device: where to compute.

    Raises:
        UserError: labels are missing.
    """
    counts = class_counts(embeddings)
    about = {
        "split": "test",
        "chance": 1 / len(embeddings.classes),
        "majority": majority(counts["train"], counts["test"]),
    }
    scores = []
    for protocol, accuracies, features, draws in (
        ("ali", _ali, "standardised", options["draws"]),
        ("mteb", _mteb, "raw", MTEB_DRAWS),
    ):
        found, status = np.zeros(0), embeddings.status
        if status == "ok" and protocol == "ali" and options["labels"] > counts["train"].sum():
            status = TOO_FEW
        elif status == "ok":
            random = np.random.default_rng([seed, len(scores)])
            each = accuracies(embeddings, options, random, device)
            bar = progress.bar(range(draws), desc=f"few labels, {protocol}", unit="draw")
            found = np.array([next(each) for _ in bar])
            status = "ok" if np.isfinite(found).all() else _probe.NOT_CONVERGED
        mean, low, high, sd = _summary(found) if status == "ok" else (np.nan,) * 4
        about |= {"protocol": protocol, "features": features, "n": draws, "status": status}
        scores.append(Score(metric="accuracy", value=mean, low=low, high=high, **about))
        scores.append(Score(metric="accuracy_sd", value=sd, **about | {"chance": None, "majority": None}))
    return scores


def _summary(found: np.ndarray) -> tuple[float, float, float, float]:
    """Mean over draws, Student's 95 % interval of it cut to [0, 1], and standard deviation.

    Draws that are all the same have no interval: they do not say how far apart others would be.
    """
    mean, sd = found.mean(), found.std(ddof=1)
    if np.ptp(found) == 0:
        return float(mean), np.nan, np.nan, 0.0
    half = t.ppf((1 + CONFIDENCE) / 2, len(found) - 1) * sd / np.sqrt(len(found))
    return float(mean), float(max(mean - half, 0)), float(min(mean + half, 1)), float(sd)


def _ali(
    embeddings: Embeddings, options: Mapping[str, Any], random: np.random.Generator, device: torch.device
) -> Iterator[float]:
    """Test accuracies, one for each draw; NaN where the solver did not converge."""
    train, val, test = (embeddings.splits[split] for split in ("train", "val", "test"))
    mean, scale = mean_and_scale(train.features)
    held_out = _some(val, HELD_OUT, random)

    def on_val(solution: linear_probe.Solution) -> float:
        return (solution.predict(val.features[held_out]) == val.labels[held_out]).mean()

    while True:
        rows = _some(train, options["labels"], random)
        labels = train.labels[rows]
        prepared = linear_probe.prepare(train.features[rows], device, mean, scale)
        chosen = linear_probe.fit_best(prepared, labels, options["C"], on_val)
        yield float("nan") if chosen is None else _accuracy(chosen, test)


def _mteb(
    embeddings: Embeddings, options: Mapping[str, Any], random: np.random.Generator, device: torch.device
) -> Iterator[float]:
    """Test accuracies, one for each draw."""
    train, test = embeddings.splits["train"], embeddings.splits["test"]
    while True:
        rows = _shots(train, options["shots"], random)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # MTEB takes what 100 iterations give
            model = LogisticRegression(max_iter=100).fit(train.features[rows], train.labels[rows])
        yield _accuracy(model, test)


def _accuracy(model: linear_probe.Solution | LogisticRegression, split: EmbeddingSplit) -> float:
    return float((model.predict(split.features) == split.labels).mean())


def _some(split: EmbeddingSplit, count: int, random: np.random.Generator) -> np.ndarray:
    """Rows of a random choice of images, int64 (min(count, N),), the same whatever the order of rows."""
    by_id = np.argsort(split.ids)
    return np.sort(by_id[random.permutation(len(by_id))[:count]])


def _shots(split: EmbeddingSplit, count: int, random: np.random.Generator) -> np.ndarray:
    """Rows of a random choice of `count` images of each class."""
    by_id = np.argsort(split.ids)
    drawn = by_id[random.permutation(len(by_id))]
    return np.sort(np.concatenate([drawn[split.labels[drawn] == c][:count] for c in np.unique(split.labels)]))
