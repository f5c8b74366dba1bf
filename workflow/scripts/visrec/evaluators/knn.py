"""Nearest neighbours: does an embedding recommend the right pictures?

Exact neighbours among the training images, in L2 and cosine, of features raw and transformed
(`visrec.scoring.transforms`); each pair of these is a space, and one pass over the distances of a space gives all of
its scores. Raw features in L2 are the headline, as in the seed paper: queries of train, near duplicates, attributes and
health are scored there only, and protocols (`visrec.scoring.protocols`) on raw features in their own distance.

Queries of train are searched in train without themselves, dropped by id (leave-one-out); those of val and test in
train. Rows at exactly the same distance count with their expected value under random order.

Metrics are the entries of `visrec.scoring.metrics.METRICS`; all but coverage, gini and hubness are means over queries:
    precision, hit, accuracy, accuracy_weighted    of the k nearest; weights are 1/distance, for cosine 1/(1 - cosine)
    r_precision, map_at_r, mrr                     of the whole ranking; val and test only
    precision of ATTRIBUTE, attribute_precision    share of the k nearest that have an attribute which the query has;
                                                   one by one, and their mean (macro)
    ndcg                                           attributes shared, as a graded relevance
    identity_precision, identity_hit               the same person or thing: share of the k nearest, and whether one is
    coverage, gini, hubness, diversity             what the lists of all queries recommend; all but the last without
                                                   intervals
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Any

import numpy as np
import torch

from visrec.data.embeddings import Embeddings
from visrec.data.hdf5 import SPLITS
from visrec.errors import UserError
from visrec.evaluators import Score, class_counts
from visrec.evaluators._retrieval import Measured, Pass, Request, Wanted, bases, measure, some_of
from visrec.scoring import neighbours
from visrec.scoring.chance import majority, self_counted
from visrec.scoring.metrics import ATTRIBUTES, IDENTITY, METRICS, Metric
from visrec.scoring.protocols import PROTOCOLS
from visrec.scoring.queries import choose_queries, first_by_digest
from visrec.scoring.retrieved import Asked
from visrec.scoring.transforms import TRANSFORMS

OPTIONS = {
    "k": {
        "description": "Numbers of neighbours to score; by default those for which there are enough training images.",
        "type": "array",
        "at_most": ["others"],
        "items": {"type": "integer", "minimum": 1},
        "minItems": 1,
        "uniqueItems": True,
        "default": [1, 3, 5, 10],
    },
    "features": {
        "description": "What is done to features before distances are taken; raw, the headline, is always there.",
        "type": "array",
        "items": {"enum": ["raw", "standardised", "blocks", "whitened", "output"]},
        "minItems": 1,
        "uniqueItems": True,
        "default": ["raw", "standardised", "blocks", "whitened", "output"],
    },
    "train_queries": {
        "description": "Training images that ask, each among all others; 0: all of them.",
        "type": "integer",
        "minimum": 0,
        "default": 0,
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
TEST = {"k": [1, 3]}  # what 24 training images have something to say on
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
    ks = sorted(options["k"])
    class_counts(embeddings)  # checks that all images have labels
    if ks[-1] >= len(embeddings.splits["train"].ids):
        raise UserError(f"knn: k = {ks[-1]} needs more than {ks[-1]} training images; choose a smaller k")
    # Of one layer, blocks are raw features in another unit, and the output is all there is.
    of_layers = {name for name, each in TRANSFORMS.items() if each.weights}
    features = [each for each in options["features"] if len(embeddings.layers) != 1 or each not in of_layers]
    queries = {split: _queries(embeddings, split, options["train_queries"]) for split in SPLITS}
    passes = _passes(["raw", *features], ["l2", *options["distances"]])
    rows = {here: _rows(here, embeddings, queries[here.split], ks) for here in passes}
    if embeddings.status != "ok":
        return [replace(row.score, status=embeddings.status) for found in rows.values() for row in found]
    request = Request(
        embeddings,
        {here: [row.wanted for row in found if row.wanted is not None] for here, found in rows.items()},
        queries,
        device,
    )
    measured: dict[Pass, dict[Wanted, Measured]] = {}
    for base in bases(list(dict.fromkeys(["raw", *features])), embeddings, device):
        measured |= measure(base, request)
    return [row.filled(measured[here]) for here, found in rows.items() for row in found]


def _passes(features: Sequence[str], distances: Sequence[str]) -> Iterator[Pass]:
    """The spaces and splits in the order of the CSV; the first is the headline's, which alone is asked by train."""
    for number, (changed, distance) in enumerate(product(dict.fromkeys(features), dict.fromkeys(distances))):
        for split in SPLITS if number == 0 else ("val", "test"):
            yield Pass(split, changed, distance, number == 0)


def _queries(embeddings: Embeddings, split: str, train_queries: int) -> np.ndarray:
    """Rows of a split that are queries: all, or of train the first by the SHA-256 of their ids."""
    ids = embeddings.splits[split].ids
    chosen = split == "train" and train_queries
    return np.sort(first_by_digest(ids, train_queries)) if chosen else np.arange(len(ids))


def lists(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """Ids str (q,) of some test images, the same for every encoder, and their nearest rows, int64 (q, min(10, N))."""
    test, train = embeddings.splits["test"], embeddings.splits["train"]
    chosen = choose_queries(test.labels, test.ids, LISTED)
    k = min(LIST_K, len(train.ids))
    found = neighbours.nearest(test.features[chosen], train.features, k)
    return test.ids[chosen], found.rows[found.starts[:-1, None] + np.arange(k)]  # the first of those tied with the last


@dataclass(frozen=True)
class _Row:
    """A row of scores, not yet measured.

    Attributes:
        score: without numbers.
        wanted: what it is made of; None if it cannot be measured.
        attribute: number of the attribute that it is of; None for all.
        self_counted: whether the query is to count as its own first neighbour, with the others from `wanted`.
    """

    score: Score
    wanted: Wanted | None
    attribute: int | None = None
    self_counted: bool = False

    def filled(self, measured: Mapping[Wanted, Measured]) -> Score:
        """The row with its numbers: scores of queries, or a value."""
        if self.wanted is None:
            return self.score
        found, chance = measured[self.wanted]
        if self.wanted.metric.pooled:
            return replace(self.score, value=float(found))
        if chance is not None:
            return replace(self.score, queries=found, chance=float(np.nanmean(chance)))
        if self.attribute is not None:
            return replace(self.score, queries=found[self.attribute])
        if self.self_counted:
            return replace(self.score, queries=self_counted(found, self.score.k))
        return replace(self.score, queries=found)


def _rows(here: Pass, embeddings: Embeddings, queries: np.ndarray, ks: Sequence[int]) -> list[_Row]:
    """What is scored in a pass, with what chance would give to these queries, rows of the split."""
    split = embeddings.splits[here.split]
    asking = split if len(queries) == len(split.ids) else some_of(split, queries)
    asked = Asked(asking, embeddings.splits["train"], len(embeddings.classes), here.split == "train")
    found = []
    # In the order of the CSV: metrics that need the same stand together, by k.
    for needs, together in groupby(METRICS.values(), lambda metric: metric.needs):
        metrics = [metric for metric in together if here.measures(metric) and _is_there(needs, embeddings)]
        for k in dict.fromkeys(k for metric in metrics for k in (ks if metric.per_k else [None])):
            at_k = [metric for metric in metrics if metric.measured_at(k)]
            found += [row for metric in at_k for row in _of_metric(metric, here, asked, k, embeddings.attributes)]
            if here.first and embeddings.duplicates is not None:
                for metric in (metric for metric in at_k if metric.without_duplicates):
                    score = _score(metric, here, asked, k, duplicates="dropped")
                    found.append(_Row(score, Wanted(metric, k, dropped=True)))
    return [*found, *_of_protocols(here, asked)]


def _is_there(needs: str, embeddings: Embeddings) -> bool:
    """Whether the images have what a metric needs."""
    train = embeddings.splits["train"]
    if needs == ATTRIBUTES:
        return train.attributes is not None and len(embeddings.attributes) > 0
    return needs != IDENTITY or train.identity is not None


def _of_metric(metric: Metric, here: Pass, asked: Asked, k: int | None, attributes: Sequence[str]) -> Iterator[_Row]:
    """The rows of one metric at one k."""
    wanted = Wanted(metric, k)
    if not metric.each:
        for average in metric.averages:
            yield _Row(_score(metric, here, asked, k, average), wanted)
        return
    rates = metric.expected(asked, k, "macro")
    for number, (name, rate) in enumerate(zip(attributes, rates, strict=True)):
        score = replace(_score(metric, here, asked, k), metric=metric.each + name, chance=float(rate))
        yield _Row(score, wanted, attribute=number)
    has = asked.queries.attributes.any(axis=0)  # an attribute that no query has is not scored
    chance = float(rates[has].mean()) if has.any() else None
    yield _Row(replace(_score(metric, here, asked, k, "macro"), chance=chance), wanted)


def _of_protocols(here: Pass, asked: Asked) -> Iterator[_Row]:
    """The rows of the protocols of others."""
    for name, protocol in PROTOCOLS.items():
        if here.features != "raw" or here.distance != protocol.distance or here.split not in protocol.splits:
            continue
        for metric in (METRICS[each] for each in protocol.metrics):
            for k in protocol.k if metric.per_k else (None,):
                if (k or 0) > asked.gallery_counts.sum() - asked.leave_one_out:
                    nothing = {"chance": None, "majority": None, "status": TOO_FEW}
                    yield _Row(replace(_score(metric, here, asked, 1, protocol=name), k=k, **nothing), None)
                    continue
                score = _score(metric, here, asked, k, protocol=name)
                if protocol.self_counted and asked.leave_one_out:
                    chance = self_counted(score.chance, k)
                    yield _Row(replace(score, chance=chance), Wanted(metric, k - 1), self_counted=True)
                else:
                    temperature = None if math.isnan(protocol.temperature) else protocol.temperature
                    yield _Row(score, Wanted(metric, k, temperature))


def _score(metric: Metric, here: Pass, asked: Asked, k: int | None, average: str = "micro", **more: Any) -> Score:
    """A row with what chance and the constant answer give."""
    chance = None if metric.each else metric.expected(asked, k, average)
    constant = majority(asked.gallery_counts, asked.query_counts, average) if metric.constant else None
    about = {"split": here.split, "features": here.features, "distance": here.distance}
    return Score(metric=metric.name, k=k, average=average, chance=chance, majority=constant, **about, **more)
