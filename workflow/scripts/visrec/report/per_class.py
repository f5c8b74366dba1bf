"""classes.csv and confusion.csv: how the chosen settings recommend for the queries of each class.

Both are of the headline's space, raw features in L2, and read from what the evaluator `knn` keeps of single queries.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visrec.data.hdf5 import IMAGES, reading
from visrec.data.images import read_image_info
from visrec.data.query_scores import read_lists, read_query_scores
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.headline import GROUP, is_headline
from visrec.report.inputs import columns_of
from visrec.scoring import intervals, metrics

CLASSES = [*GROUP, "trial", "class", "queries", "k", "precision", "low", "high", "chance"]
CONFUSION = [*GROUP, "trial", "class", "recommended", "queries", "k", "share"]


def per_class(experiment: Experiment, seeds: Sequence[Trial], k: int) -> list[dict[str, Any]]:
    """Precision at k of the test queries of each class, the mean over seeds, with its interval.

    Args:
        experiment: with the results.
        seeds: of one setting, scored.
        k: the headline's number of neighbours.

    Returns:
        Rows with the columns `CLASSES`, of the classes that have queries; none if k-NN was not run.
    """
    labels, scores = None, []
    for trial in seeds:
        path = experiment.path(trial, layout.query_scores("knn"))
        found = read_query_scores(path, "test") if path.exists() else None
        matching = [i for i, row in enumerate(found.rows) if is_headline(row, "precision", k)] if found else []
        if matching:
            labels = found.labels
            scores.append(found.scores[matching[0]].copy())
    if labels is None:
        return []
    names, gallery = _classes(experiment, seeds[0])
    chance = metrics.chance("precision", np.bincount(gallery, minlength=len(names)), k)
    rows = []
    for label in np.unique(labels):
        draws = intervals.resample(np.stack(scores)[:, labels == label], intervals.SEED)
        value, low, high = map(float, intervals.summary(intervals.across_seeds(draws, intervals.SEED)))
        about = columns_of(seeds[0], [*GROUP, "trial"]) | {"class": names[label], "k": k}
        about |= {"queries": int((labels == label).sum()), "chance": float(chance[label])}
        rows.append(about | {"precision": value, "low": max(low, 0.0), "high": min(high, 1.0)})
    return rows


def confusion(experiment: Experiment, seeds: Sequence[Trial], k: int) -> list[dict[str, Any]]:
    """Which share of the pictures recommended for a class is of which class, right ones included, over all seeds.

    From the lists that `knn` keeps, of at most `evaluators.knn.LISTED` test queries, in which classes take turns. Of
    pictures that are equally near, a list has the first alone, so a share may differ a little from the precision.

    Args:
        experiment: with the results.
        seeds: of one setting, scored.
        k: the headline's number of neighbours; shorter lists are taken whole.

    Returns:
        Rows with the columns `CONFUSION`, of the pairs that occur; none if no lists were kept.
    """
    counts, asked, length = None, None, 0
    for trial in seeds:
        path = experiment.path(trial, layout.query_scores("knn"))
        lists = read_lists(path) if path.exists() else None
        if lists is None:
            continue
        names, gallery = _classes(experiment, trial)
        known = read_query_scores(path, "test")  # its ids are sorted
        ids, found = lists
        labels, length = known.labels[np.searchsorted(known.ids, ids)], min(k, found.shape[1])
        pairs = np.repeat(labels, length) * len(names) + gallery[found[:, :length]].ravel()
        here = np.bincount(pairs, minlength=len(names) ** 2).reshape(len(names), -1)
        counts = here if counts is None else counts + here
        asked = np.bincount(labels, minlength=len(names))
    if counts is None:
        return []
    about = columns_of(seeds[0], [*GROUP, "trial"]) | {"k": length}
    return [
        about
        | {"class": names[own], "recommended": names[other], "queries": int(asked[own])}
        | {"share": float(counts[own, other] / counts[own].sum())}
        for own, other in np.argwhere(counts)
    ]


def _classes(experiment: Experiment, trial: Trial) -> tuple[Sequence[str], np.ndarray]:
    """Names of the classes, and the class of each training image, int64 (N,)."""
    path = experiment.images(trial.dataset, trial.size)
    with reading(path, IMAGES) as file:
        return read_image_info(path).classes, file["train/labels"][:]
