"""Nearest neighbours: does an embedding recommend the right pictures?

Exact neighbours among the training images, in L2 and cosine, of features raw and transformed
(`visrec.scoring.transforms`); each pair of these is a space, and one pass over the distances of a space gives all of
its scores. Raw features in L2 are the headline, as in the seed paper: queries of train, near duplicates, attributes and
health are scored there only, and protocols (`visrec.scoring.protocols`) on raw features in their own distance.

Queries of train are searched in train without themselves, dropped by id (leave-one-out); those of val and test in
train. Rows at exactly the same distance count with their expected value under random order.

Metrics, all of them means over queries (definitions: `visrec.scoring.metrics`, `visrec.scoring.health`):
    precision, hit, accuracy, accuracy_weighted    of the k nearest; weights are 1/distance, for cosine 1/(1 - cosine)
    r_precision, map_at_r, mrr                     of the whole ranking; val and test only
    precision of ATTRIBUTE, attribute_precision    share of the k nearest that have an attribute which the query has;
                                                   one by one, and their mean (macro)
    ndcg, identity_precision                       attributes shared, as a graded relevance; the same person
    coverage, gini, hubness, diversity             what the lists of all queries recommend; all but the last without
                                                   intervals
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from visrec.data.embeddings import Embeddings
from visrec.data.hdf5 import SPLITS
from visrec.errors import UserError
from visrec.evaluators import Score, class_counts
from visrec.evaluators._retrieval import OF_RANKING, Measured, Pass, measure
from visrec.scoring import health, metrics, neighbours, transforms
from visrec.scoring.protocols import PROTOCOLS

OPTIONS = {
    "k": {
        "description": "Numbers of neighbours to score.",
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "minItems": 1,
        "uniqueItems": True,
        "default": [1, 3, 5, 10],
    },
    "features": {
        "description": "What is done to features before distances are taken; raw, the headline, is always there.",
        "type": "array",
        "items": {"enum": ["raw", "standardised", "blocks", "whitened"]},
        "minItems": 1,
        "uniqueItems": True,
        "default": ["raw", "standardised", "blocks", "whitened"],
    },
    "distances": {
        "description": "How features are compared; l2, the headline, is always there.",
        "type": "array",
        "items": {"enum": ["l2", "cosine"]},
        "minItems": 1,
        "uniqueItems": True,
        "default": ["l2", "cosine"],
    },
}
HEADLINE_K = 3  # the seed paper's
LISTED = 1000  # test queries whose neighbours are kept, for the overlap between seeds
LIST_K = 10
TOO_FEW = "fewer images than neighbours"


def evaluate(embeddings: Embeddings, options: Mapping[str, Any], seed: int, device: torch.device) -> list[Score]:
    """Score each split in each space at each k.

    Args:
        embeddings: with labels.
        options: `OPTIONS`.
        seed: not used; nothing here is random.
        device: where to compute; results are the same everywhere.

    Raises:
        UserError: labels are missing, or train has too few images for the greatest k.
    """
    counts, ks = class_counts(embeddings), sorted(options["k"])
    if ks[-1] >= len(embeddings.splits["train"].ids):
        raise UserError(f"knn: k = {ks[-1]} needs more than {ks[-1]} training images; choose a smaller k")
    scores = []
    # Blocks of one layer are raw features in another unit.
    further = [each for each in options["features"] if each != "blocks" or len(embeddings.layers) != 1]
    for features in dict.fromkeys(["raw", *further]):
        space = _transformed(embeddings, features) if embeddings.status == "ok" else {}
        for distance in dict.fromkeys(["l2", *options["distances"]]):
            first = (features, distance) == ("raw", "l2")
            here = {s: transforms.unit(rows) for s, rows in space.items()} if distance == "cosine" else space
            for split in SPLITS if first else ("val", "test"):
                passed = Pass(split, features, distance, first)
                rows = list(_rows(passed, embeddings, counts, ks))
                if embeddings.status == "ok":
                    measured = measure(passed, embeddings, here, rows, device)
                    rows = [row if row.status != "ok" else replace(row, **_numbers(row, measured)) for row in rows]
                else:
                    rows = [replace(row, status=embeddings.status) for row in rows]
                scores += rows
    return scores


def lists(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """Ids str (q,) of some test images, the same for every encoder, and the rows of their 10 nearest, int64 (q, 10)."""
    test, train = embeddings.splits["test"], embeddings.splits["train"]
    chosen = neighbours.choose_queries(test.labels, test.ids, LISTED)
    k = min(LIST_K, len(train.ids))
    found = neighbours.nearest(test.features[chosen], train.features, k)
    return test.ids[chosen], found.rows[found.starts[:-1, None] + np.arange(k)]  # the first of those tied with the last


def _transformed(embeddings: Embeddings, features: str) -> dict[str, np.ndarray]:
    """The features of each split, transformed as fitted on train."""
    change = transforms.fit(features, embeddings.splits["train"].features, embeddings.layers)
    return {split: change(embeddings.splits[split].features) for split in SPLITS}


def _rows(here: Pass, embeddings: Embeddings, counts: Mapping[str, np.ndarray], ks: list[int]) -> Iterator[Score]:
    """What is scored in a pass, with what chance would give; no numbers yet."""
    leave_one_out = here.split == "train"
    queries, gallery = counts[here.split], counts["train"]
    constant = metrics.majority(gallery, queries), 1 / np.count_nonzero(queries)

    def row(metric: str, k: int | None = None, average: str = "micro", **more: Any) -> Score:
        plain = "accuracy" if metric == "accuracy_weighted" else metric  # random neighbours are about equally far
        per_class = metrics.chance(plain, gallery, k, leave_one_out)
        chance = float(metrics.over_classes(per_class, queries, average))
        majority = constant[average == "macro"] if plain == "accuracy" else None
        about = {"split": here.split, "features": here.features, "distance": here.distance}
        return Score(metric=metric, k=k, average=average, chance=chance, majority=majority, **about, **more)

    for k in ks:
        for metric in ("precision", "accuracy"):
            yield row(metric, k)
            yield row(metric, k, "macro")
        yield row("hit", k)
        yield row("accuracy_weighted", k)
        if here.first and embeddings.duplicates is not None:
            yield row("precision", k, duplicates="dropped")
    if here.ranked:
        for metric in OF_RANKING:
            yield row(metric)
            yield row(metric, average="macro")
    if here.first and here.ranked:
        yield from _health_rows(here, embeddings, ks)
        yield from _attribute_rows(here, embeddings, ks)
    for name, protocol in PROTOCOLS.items():
        if here.features == "raw" and here.distance == protocol.distance and here.split in protocol.splits:
            for metric in protocol.metrics:
                for k in (None,) if metric in OF_RANKING else protocol.k:
                    status = "ok" if (k or 0) < gallery.sum() else TOO_FEW
                    one = row(metric, k, protocol=name) if status == "ok" else row(metric, 1, protocol=name)
                    counted = protocol.self_counted and leave_one_out
                    chance = metrics.self_counted(one.chance, k) if counted else one.chance
                    yield replace(one, k=k, chance=chance, status=status)


def _health_rows(here: Pass, embeddings: Embeddings, ks: list[int]) -> Iterator[Score]:
    about = {"split": here.split, "features": here.features, "distance": here.distance}
    queries, gallery = len(embeddings.splits[here.split].ids), len(embeddings.splits["train"].ids)
    random = {"coverage": health.random_coverage, "gini": health.random_gini, "hubness": health.random_skewness}
    for k in ks:
        for metric, chance in random.items():
            yield Score(metric=metric, k=k, chance=float(chance(queries, k, gallery)), n=queries, **about)
        if k > 1:
            yield Score(metric="diversity", k=k, **about)


def _attribute_rows(here: Pass, embeddings: Embeddings, ks: list[int]) -> Iterator[Score]:
    about = {"split": here.split, "features": here.features, "distance": here.distance}
    own, train = embeddings.splits[here.split], embeddings.splits["train"]
    if train.attributes is not None and len(embeddings.attributes):
        base = train.attributes.mean(axis=0)
        asked = own.attributes.any(axis=0)  # of an attribute that no query has, nothing can be said
        for k in ks:
            for name, rate in zip(embeddings.attributes, base, strict=True):
                yield Score(metric=f"precision of {name}", k=k, chance=float(rate), **about)
            chance = float(base[asked].mean()) if asked.any() else None
            yield Score(metric="attribute_precision", k=k, average="macro", chance=chance, **about)
            yield Score(metric="ndcg", k=k, **about)
    if train.identity is not None:
        people, of = np.unique(np.concatenate([train.identity, own.identity]), return_inverse=True)
        photos = np.bincount(of[: len(train.identity)], minlength=len(people))
        chance = float((photos[of[len(train.identity) :]] / len(train.identity)).mean())
        for k in ks:
            yield Score(metric="identity_precision", k=k, chance=chance, **about)


def _numbers(row: Score, measured: Measured) -> dict[str, Any]:
    """The numbers of a row: scores of queries, or a value."""
    if row.protocol != "visrec":
        protocol = PROTOCOLS[row.protocol]
        if protocol.self_counted and row.split == "train":
            return {"queries": metrics.self_counted(measured["precision", row.k - 1], row.k)}
        if row.metric == "accuracy_weighted":
            return {"queries": measured[row.metric, row.k, protocol.temperature]}
        return {"queries": measured[row.metric, row.k]}
    if row.duplicates == "dropped":
        return {"queries": measured[row.metric, row.k, "dropped"]}
    found = measured[row.metric, row.k]
    if found.ndim == 0:
        return {"value": float(found)}
    if row.metric == "ndcg":
        return {"queries": found, "chance": float(np.nanmean(measured["ndcg chance", row.k]))}
    return {"queries": found}
