"""One pass over the distances between the queries of a split and the gallery: all that it says of each query."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from visrec.data import duplicates
from visrec.data.embeddings import Embeddings, EmbeddingSplit
from visrec.evaluators import Score
from visrec.scoring import health, metrics, neighbours
from visrec.scoring.protocols import PROTOCOLS

OF_RANKING = ("r_precision", "map_at_r", "mrr")
Measured = dict[tuple, np.ndarray]


@dataclass(frozen=True)
class Pass:
    """The queries of one split in one space; `first` if it is the headline's."""

    split: str
    features: str
    distance: str
    first: bool

    @property
    def ranked(self) -> bool:
        """Whether whole rankings are made: not for train, which has most queries and is no test."""
        return self.split != "train"


def measure(
    here: Pass, embeddings: Embeddings, space: Mapping[str, np.ndarray], rows: list[Score], device: torch.device
) -> Measured:
    """The scores of each query, float64 (n,), by (metric, k) and, where there are several, what else; health, ()."""
    own, train = embeddings.splits[here.split], embeddings.splits["train"]
    queries, gallery, classes = space[here.split], space["train"], len(embeddings.classes)
    rows = [row for row in rows if row.status == "ok"]
    ks = {row.metric: sorted({other.k for other in rows if other.metric == row.metric and other.k}) for row in rows}
    ks["precision"] = sorted({*ks["precision"], *(k - 1 for k in ks["precision"] if k > 1)})  # of self_counted
    temperatures = {
        (row.k, PROTOCOLS[row.protocol].temperature)
        for row in rows
        if row.protocol != "visrec" and row.metric == "accuracy_weighted"
    }
    plain = {row.k for row in rows if row.protocol == "visrec" and row.metric == "accuracy_weighted"}
    measured: Measured = defaultdict(lambda: np.full(len(own.ids), np.nan))
    recommended = {k: health.Recommended(len(gallery)) for k in ks.get("coverage", ())}
    left_out = neighbours.own_rows(own.ids, train.ids)
    greatest = max(k for several in ks.values() for k in several)

    for tile in neighbours.tiles(queries, gallery, greatest, left_out, full=here.ranked, device=device):
        found, part = tile.neighbours, tile.queries
        labels = own.labels[part]
        for k in sorted({*ks["precision"], *ks["accuracy"]}):
            counted = *found.count(train.labels, classes, k), labels, k
            measured["precision", k][part] = metrics.expected_precision(*counted)
            if k in ks["hit"]:
                measured["hit", k][part] = metrics.expected_hit(*counted)
            if k in ks["accuracy"]:
                measured["accuracy", k][part] = metrics.expected_accuracy(*counted)
        entry = found.starts, train.labels[found.rows], found.squared
        with np.errstate(divide="ignore"):
            weights = 1 / (found.squared / 2 if here.distance == "cosine" else np.sqrt(found.squared))
        for k in plain:
            measured["accuracy_weighted", k][part] = metrics.weighted_accuracy(*entry, weights, labels, k)
        for k, temperature in temperatures:
            weights = np.exp(-found.squared / 2 / temperature)  # exp(s / T) over exp(1 / T), s = 1 - d^2 / 2
            measured["accuracy_weighted", k, temperature][part] = metrics.weighted_accuracy(*entry, weights, labels, k)
        if here.ranked:
            relevant = torch.from_numpy(labels)[:, None] == torch.from_numpy(train.labels)
            for metric, values in metrics.ranked(tile.squared, relevant.to(tile.squared.device)).items():
                measured[metric, None][part] = values
        for k, lists_so_far in recommended.items():
            lists_so_far.add(found.starts, found.rows, found.squared, k)
            if k > 1:
                measured["diversity", k][part] = health.diversity(
                    train.features, found.starts, found.rows, found.squared, k
                )
        if here.first and here.ranked:
            _attributes(measured, found, part, own, train, embeddings.attributes, ks)

    for k in ks.get("attribute_precision", ()):
        measured["attribute_precision", k] = np.stack(
            [measured[f"precision of {name}", k] for name in embeddings.attributes]
        )
    for k, all_lists in recommended.items():
        measured["coverage", k] = np.float64(health.coverage(all_lists.never))
        measured["gini", k] = np.float64(health.gini(all_lists.counts))
        measured["hubness", k] = np.float64(health.skewness(all_lists.counts))
    if here.first and embeddings.duplicates is not None:
        _without_duplicates(measured, here, embeddings, space, left_out, ks["hit"], device)
    return measured


def _attributes(
    measured: Measured,
    found: neighbours.Neighbours,
    part: slice,
    own: EmbeddingSplit,
    train: EmbeddingSplit,
    names: Sequence[str],
    ks: Mapping[str, list[int]],
) -> None:
    """Attributes and identities that a tile's queries share with their neighbours; fills `measured`."""
    for k in ks.get("ndcg", ()):
        has = own.attributes[part].astype(bool)
        share = metrics.expected_share(found.starts, found.squared, train.attributes[found.rows], k)
        for name, column in zip(names, np.where(has, share, np.nan).T, strict=True):
            measured[f"precision of {name}", k][part] = column
        entries = found.starts, found.rows, found.squared
        ndcg, chance = metrics.ndcg_jaccard(*entries, own.attributes[part], train.attributes, k)
        measured["ndcg", k][part], measured["ndcg chance", k][part] = ndcg, chance
    for k in ks.get("identity_precision", ()):
        same = train.identity[found.rows] == np.repeat(own.identity[part], np.diff(found.starts))
        measured["identity_precision", k][part] = metrics.expected_share(found.starts, found.squared, same, k)


def _without_duplicates(
    measured: Measured,
    here: Pass,
    embeddings: Embeddings,
    space: Mapping[str, np.ndarray],
    left_out: np.ndarray,
    ks: list[int],
    device: torch.device,
) -> None:
    """Precision without the query's near duplicates in the gallery: a second search, for the queries that have any."""
    gallery, train = space["train"], embeddings.splits["train"]
    partners = duplicates.partners(embeddings.duplicates, here.split)
    for k in ks:
        measured["precision", k, "dropped"] = measured["precision", k].copy()
    has, number = np.unique(partners[:, 0], return_counts=True)
    enough = len(gallery) - number - (here.split == "train") >= ks[-1]
    for k in ks:
        measured["precision", k, "dropped"][has[~enough]] = np.nan
    has = has[enough]
    pairs = np.concatenate([left_out, partners])
    pairs = pairs[np.isin(pairs[:, 0], has)]
    pairs[:, 0] = np.searchsorted(has, pairs[:, 0])
    labels = embeddings.splits[here.split].labels[has]
    queries = space[here.split][has]
    for tile in neighbours.tiles(queries, gallery, ks[-1], pairs, device=device):
        for k in ks:
            counted = tile.neighbours.count(train.labels, len(embeddings.classes), k)
            measured["precision", k, "dropped"][has[tile.queries]] = metrics.expected_precision(
                *counted, labels[tile.queries], k
            )
