"""The table of k-NN metrics: each is one entry of `METRICS`.

Whoever adds an entry sees it measured by the evaluator `knn`, with its chance, in the CSV and on the page. Entries
stand in the order of the page, within their group, and of the CSV.

Values are float64; scores of queries are fractions in [0, 1], NaN where a query cannot be scored. Where distances tie,
they are expected values under random order, so they do not depend on the order of rows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from visrec.scoring import chance as random_order
from visrec.scoring import health
from visrec.scoring.chance import lift, over_classes
from visrec.scoring.retrieved import Asked, Retrieved
from visrec.scoring.ties import expected_share
from visrec.scoring.votes import expected_accuracy, expected_hit, expected_precision, weighted_accuracy

__all__ = ["METRICS", "Metric", "chance", "expected_precision", "lift", "over_classes", "unbounded"]

# What a metric needs. Of train only `LABELS` are asked; what needs one of `HEADLINE_ONLY` is measured in the headline's
# space alone, all else in every space.
LABELS = "labels of the k nearest"
RANKING = "the whole ranking"  # so not on train, which has most queries and is no test
LISTS = "the k nearest"
ATTRIBUTES = "attributes"
IDENTITY = "identity"
HEADLINE_ONLY = (LISTS, ATTRIBUTES)

# Groups of the page.
RECOMMENDATION = "Recommendation"
CLASSIFICATION = "Classification"
ATTRIBUTES_AND_IDENTITY = "Attributes and identity"
HEALTH = "Health of the lists"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of the evaluator `knn`.

    Attributes:
        name: in the column `metric`.
        label: on the page; "{k}" in it becomes the number of neighbours.
        group: on the page; a new one gets a heading of its own.
        needs: `LABELS`, `RANKING`, `LISTS`, `ATTRIBUTES` or `IDENTITY`.
        score: (retrieved, k) -> float64 (q,), or (A, q) of each attribute; of a pooled metric
            (`health.Recommended` of all queries) -> float.
        class_chance: (class counts of the gallery (C,), k, leave_one_out) -> chance of a query of each class, float64
            (C,), see `visrec.scoring.chance`.
        chance: (asked, k) -> chance, float, or float64 (A,) of each attribute. Instead of `class_chance`.
        query_chance: (retrieved, k) -> chance of each query, float64 (q,), where it depends on what the query has.
        per_k: whether it is measured at each k.
        least_k: the smallest k at which it is defined.
        averages: "micro" and "macro", the means that are reported; a metric of each attribute has "macro" alone.
        each: what the name of an attribute is appended to in the column `metric`; "" for a metric that is not one of
            each attribute.
        each_label: what the table of single attributes is called.
        pooled: whether it is one number of all lists together, without an interval.
        constant: whether the constant answer "the commonest class of train" is a rival.
        without_duplicates: whether it is also measured without the near duplicates of the query.
        unbounded: whether no value is perfect, so that lift is undefined.
        decimal: whether the page shows it as a plain number instead of percent.
    """

    name: str
    label: str
    group: str
    needs: str
    score: Callable
    class_chance: Callable[[np.ndarray, int | None, bool], np.ndarray] | None = None
    chance: Callable[[Asked, int | None], float | np.ndarray] | None = None
    query_chance: Callable[[Retrieved, int | None], np.ndarray] | None = None
    per_k: bool = True
    least_k: int = 1
    averages: tuple[str, ...] = ("micro",)
    each: str = ""
    each_label: str = ""
    pooled: bool = False
    constant: bool = False
    without_duplicates: bool = False
    unbounded: bool = False
    decimal: bool = False

    def measured_at(self, k: int | None) -> bool:
        """Whether it is measured at a number of neighbours; None: at none."""
        if k is None:
            return not self.per_k
        return self.per_k and k >= self.least_k

    def expected(self, asked: Asked, k: int | None, average: str) -> float | np.ndarray | None:
        """Chance of the mean score of a split, or of each attribute, (A,); None where there is none."""
        if self.class_chance is not None:
            per_class = self.class_chance(asked.gallery_counts, k, asked.leave_one_out)
            return float(over_classes(per_class, asked.query_counts, average))
        return None if self.chance is None else self.chance(asked, k)


def chance(name: str, gallery: np.ndarray, k: int | None = None, leave_one_out: bool = False) -> np.ndarray:
    """Expected score of a query of each class, float64 (C,), when the ranking is random: see `visrec.scoring.chance`.

    Raises:
        ValueError: there is no such metric, or its chance does not depend on the class.
    """
    metric = METRICS.get(name)
    if metric is None or metric.class_chance is None:
        raise ValueError(f"chance: no metric {name!r}")
    return metric.class_chance(gallery, k, leave_one_out)


def unbounded() -> list[str]:
    """Names of the metrics for which lift is undefined."""
    return [metric.name for metric in METRICS.values() if metric.unbounded]


def _counted(function: Callable) -> Callable[[Retrieved, int], np.ndarray]:
    """The score of class counts and labels."""
    return lambda found, k: function(*found.counts(k), found.queries.labels, k)


def _weighted(found: Retrieved, k: int) -> np.ndarray:
    lists = found.neighbours
    entry_labels = found.gallery.labels[lists.rows]
    return weighted_accuracy(lists.starts, entry_labels, lists.squared, found.weights, found.queries.labels, k)


def _diversity(found: Retrieved, k: int) -> np.ndarray:
    lists = found.neighbours
    return health.diversity(found.gallery.features, lists.starts, lists.rows, lists.squared, k)


def _each_attribute(found: Retrieved, k: int) -> np.ndarray:
    """Share of the k nearest that have an attribute, of the queries that have it: float64 (A, q)."""
    lists = found.neighbours
    share = expected_share(lists.starts, lists.squared, found.gallery.attributes[lists.rows], k)
    return np.where(found.queries.attributes.astype(bool), share, np.nan).T


def _same_identity(found: Retrieved) -> np.ndarray:
    """Which entries of the lists have their query's identity, bool (E,)."""
    lists = found.neighbours
    return found.gallery.identity[lists.rows] == np.repeat(found.queries.identity, np.diff(lists.starts))


def _identity_precision(found: Retrieved, k: int) -> np.ndarray:
    lists = found.neighbours
    return expected_share(lists.starts, lists.squared, _same_identity(found), k)


def _identity_hit(found: Retrieved, k: int) -> np.ndarray:
    """`expected_hit` of two classes, the query's identity (1) and all others (0)."""
    lists, number = found.neighbours, len(found.queries.ids)
    entries = replace(lists, rows=np.arange(len(lists.rows)))
    return expected_hit(*entries.count(_same_identity(found).astype(np.int64), 2, k), np.ones(number, np.int64), k)


def _random_lists(function: Callable[[int, int, int], float]) -> Callable[[Asked, int], float]:
    """Chance that depends on the numbers of queries and gallery images alone."""
    return lambda asked, k: float(function(len(asked.queries.ids), k, len(asked.gallery.ids)))


def _random_identity(function: Callable) -> Callable[[Asked, int], float]:
    """Chance of identities: the mean over queries of a function of classes, each identity being one."""

    def expected(asked: Asked, k: int) -> float:
        queries, gallery = asked.queries.identity, asked.gallery.identity
        identities, of = np.unique(np.concatenate([gallery, queries]), return_inverse=True)
        pictures = np.bincount(of[: len(gallery)], minlength=len(identities))
        return float(function(pictures, k)[of[len(gallery) :]].mean())

    return expected


BOTH = ("micro", "macro")
_ENTRIES: Iterable[Metric] = (
    Metric(
        name="precision",
        label="precision@{k}",
        group=RECOMMENDATION,
        needs=LABELS,
        score=_counted(expected_precision),
        class_chance=random_order.precision,
        averages=BOTH,
        without_duplicates=True,
    ),
    Metric(
        name="accuracy",
        label="k-NN accuracy@{k}",
        group=CLASSIFICATION,
        needs=LABELS,
        score=_counted(expected_accuracy),
        class_chance=random_order.accuracy,
        averages=BOTH,
        constant=True,
    ),
    Metric(
        name="hit",
        label="hit@{k}",
        group=RECOMMENDATION,
        needs=LABELS,
        score=_counted(expected_hit),
        class_chance=random_order.hit,
    ),
    Metric(
        name="accuracy_weighted",
        label="k-NN accuracy@{k}, weighted",
        group=CLASSIFICATION,
        needs=LABELS,
        score=_weighted,
        class_chance=random_order.accuracy,  # random neighbours are about equally far
        constant=True,
    ),
    Metric(
        name="r_precision",
        label="R-precision",
        group=RECOMMENDATION,
        needs=RANKING,
        score=lambda found, k: found.ranked["r_precision"],
        class_chance=random_order.r_precision,
        per_k=False,
        averages=BOTH,
    ),
    Metric(
        name="map_at_r",
        label="MAP@R",
        group=RECOMMENDATION,
        needs=RANKING,
        score=lambda found, k: found.ranked["map_at_r"],
        class_chance=random_order.map_at_r,
        per_k=False,
        averages=BOTH,
    ),
    Metric(
        name="mrr",
        label="MRR",
        group=RECOMMENDATION,
        needs=RANKING,
        score=lambda found, k: found.ranked["mrr"],
        class_chance=random_order.mrr,
        per_k=False,
        averages=BOTH,
    ),
    Metric(
        name="coverage",
        label="coverage of train, lists of {k}",
        group=HEALTH,
        needs=LISTS,
        score=lambda lists: health.coverage(lists.never),
        chance=_random_lists(health.random_coverage),
        pooled=True,
    ),
    Metric(
        name="gini",
        label="Gini index",
        group=HEALTH,
        needs=LISTS,
        score=lambda lists: health.gini(lists.counts),
        chance=_random_lists(health.random_gini),
        pooled=True,
        unbounded=True,
        decimal=True,
    ),
    Metric(
        name="hubness",
        label="hubness (skewness)",
        group=HEALTH,
        needs=LISTS,
        score=lambda lists: health.skewness(lists.counts),
        chance=_random_lists(health.random_skewness),
        pooled=True,
        unbounded=True,
        decimal=True,
    ),
    Metric(
        name="diversity",
        label="diversity inside a list",
        group=HEALTH,
        needs=LISTS,
        score=_diversity,
        least_k=2,
        decimal=True,
    ),
    Metric(
        name="attribute_precision",
        label="attribute precision@{k}, mean over attributes",
        group=ATTRIBUTES_AND_IDENTITY,
        needs=ATTRIBUTES,
        score=_each_attribute,
        chance=lambda asked, k: asked.gallery.attributes.mean(axis=0),
        averages=("macro",),
        each="precision of ",
        each_label="Precision@{k} of each attribute",
    ),
    Metric(
        name="ndcg",
        label="NDCG@{k} of shared attributes",
        group=ATTRIBUTES_AND_IDENTITY,
        needs=ATTRIBUTES,
        score=lambda found, k: found.ndcg(k)[0],
        query_chance=lambda found, k: found.ndcg(k)[1],
    ),
    Metric(
        name="identity_precision",
        label="identity precision@{k}",
        group=ATTRIBUTES_AND_IDENTITY,
        needs=IDENTITY,
        score=_identity_precision,
        chance=_random_identity(random_order.precision),
    ),
    Metric(
        name="identity_hit",
        label="identity hit@{k}",
        group=ATTRIBUTES_AND_IDENTITY,
        needs=IDENTITY,
        score=_identity_hit,
        chance=_random_identity(random_order.hit),
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ENTRIES}
