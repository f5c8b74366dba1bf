"""Searches in all spaces of some features: the scores of the metrics asked for, in each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from visrec.data import duplicates
from visrec.data.embeddings import Embeddings, EmbeddingSplit
from visrec.scoring import health
from visrec.scoring.metrics import HEADLINE_ONLY, LABELS, Metric
from visrec.scoring.neighbours import Searched, Space, Tile, own_rows
from visrec.scoring.neighbours.spaces import Queries
from visrec.scoring.retrieved import Retrieved
from visrec.scoring.transforms import DISTANCES, TRANSFORMS, Change, fit, mapped


@dataclass(frozen=True)
class Pass:
    """The queries of one split in one space; `first` if it is the headline's."""

    split: str
    features: str
    distance: str
    first: bool

    def measures(self, metric: Metric) -> bool:
        """Whether a metric is measured in this pass."""
        if metric.needs in HEADLINE_ONLY and not self.first:
            return False
        return self.split != "train" or metric.needs == LABELS


class Wanted(NamedTuple):
    """A metric to measure.

    Attributes:
        metric: of the table.
        k: number of neighbours, or None.
        temperature: of the votes' weights, or None.
        dropped: whether near duplicates of the query are left out of its gallery.
    """

    metric: Metric
    k: int | None
    temperature: float | None = None
    dropped: bool = False


class Measured(NamedTuple):
    """What was measured.

    Attributes:
        score: float64 (n,), of each query; (A, n), of each attribute and query; or (), of a pooled metric.
        chance: float64 (n,), of a metric whose chance depends on the query; else None.
    """

    score: np.ndarray
    chance: np.ndarray | None = None


@dataclass(frozen=True)
class Request:
    """What is asked of some embeddings.

    Attributes:
        embeddings: with labels.
        wanted: what to measure in each pass. On train, whose whole rankings no metric needs, in the headline's alone.
        rows: split -> int64 (q,), which of its rows are queries, ascending. Others have no score.
        device: where to compute.
    """

    embeddings: Embeddings
    wanted: Mapping[Pass, Sequence[Wanted]]
    rows: Mapping[str, np.ndarray]
    device: torch.device


@dataclass(frozen=True)
class Base:
    """Features whose spaces are searched together, since they share products.

    Attributes:
        change: features of some images -> float32 (n, D), new, or the features themselves.
        blocks: of the D columns.
        weights: name of a transform -> what it multiplies each block by.
        alone: name of a transform -> its change, for a space that has to be searched alone.
    """

    change: Change
    blocks: Sequence[slice]
    weights: Mapping[str, Sequence[float]]
    alone: Callable[[str], Change]


def bases(features: Sequence[str], embeddings: Embeddings, device: torch.device) -> Iterator[Base]:
    """The bases of transforms, fitted on train: all that weigh layers have one together, any other its own."""
    train, layers = embeddings.splits["train"].features, embeddings.layers
    weighing = {name: weights_of for name in features if (weights_of := TRANSFORMS[name].weights)}
    if weighing:
        weights = {name: weights_of(train, layers) for name, weights_of in weighing.items()}
        yield Base(_same, list(layers.values()), weights, lambda name: fit(name, train, layers))
    for name in (name for name in features if name not in weighing):
        change = fit(name, train, layers, device)
        yield Base(partial(mapped, change, _same), [slice(None)], {name: [1.0]}, lambda _, change=change: change)


def _same(features: np.ndarray) -> np.ndarray:
    return features


def measure(base: Base, request: Request) -> dict[Pass, dict[Wanted, Measured]]:
    """Measure what is asked for in the spaces of a base."""
    spaces = {
        here: Space(tuple(base.weights[here.features]), here.distance)
        for here in request.wanted
        if here.features in base.weights
    }
    measured = _search(request, base.change, base.blocks, spaces)
    for here in spaces.keys() - measured.keys():
        change = partial(mapped, base.alone(here.features), DISTANCES[here.distance].map)
        measured |= _search(request, change, [slice(None)], {here: Space((1.0,), "l2")})
    return measured


def _search(
    request: Request, change: Change, blocks: Sequence[slice], spaces: Mapping[Pass, Space]
) -> dict[Pass, dict[Wanted, Measured]]:
    """Measure in spaces that share products, but those that the products are too coarse for."""
    splits, rows = request.embeddings.splits, {}
    for split in dict.fromkeys(here.split for here in spaces):
        features, chosen = splits[split].features, request.rows[split]
        rows[split] = change(features if len(chosen) == len(features) else features[chosen])
    gallery = change(splits["train"].features)
    new = gallery is not splits["train"].features  # the rounded rows take its place: there is no second copy
    searched = Searched.of(gallery, list(rows.values()), blocks, overwrite=new, device=request.device)
    measured = {}
    for split, features in rows.items():
        queries = searched.queries(features)
        scores = [
            _Scores(here, request, space)
            for here, space in spaces.items()
            if here.split == split and searched.resolves(queries, space)
        ]
        for number, tile in _tiles(searched, queries, scores):
            scores[number].add(tile)
        measured |= {each.here: each.measured(searched) for each in scores}
    return measured


def _tiles(searched: Searched, queries: Queries, scores: Sequence["_Scores"]) -> Iterator[tuple[int, Tile]]:
    """Tiles of the queries of one split, each with the number of the scores that it is for."""
    if [each.here.split for each in scores] == ["train"]:
        (only,) = scores
        yield from ((0, tile) for tile in searched.nearest(queries, only.greatest, only.left_out))
    elif scores:
        yield from searched.tiles(queries, [(each.space, each.greatest) for each in scores], scores[0].left_out)


class _Scores:
    """The scores of one pass, collected over tiles of its queries.

    Attributes:
        here: the pass.
        space: of the search.
        greatest: number of neighbours to search for.
        left_out: int64 (P, 2), pairs of a query and a gallery row with the same id.
    """

    def __init__(self, here: Pass, request: Request, space: Space):
        self.here, self.space = here, space
        wanted = list(dict.fromkeys(request.wanted[here]))
        self.greatest = max(each.k or 1 for each in wanted)
        self._of_queries = [each for each in wanted if not (each.metric.pooled or each.dropped)]
        self._pooled = [each for each in wanted if each.metric.pooled]
        self._dropped = [each for each in wanted if each.dropped]
        self._embeddings = request.embeddings
        self._own, self._train = (request.embeddings.splits[split] for split in (here.split, "train"))
        self._rows = request.rows[here.split]
        self.left_out = own_rows(self._own.ids[self._rows], self._train.ids)
        self._lists = {each.k: health.Recommended(len(self._train.ids)) for each in self._pooled}
        self._measured: dict[Wanted, Measured] = {}

    def add(self, tile: Tile) -> None:
        """Score the queries of a tile."""
        self._enter(self._measured, self._of_queries, self._rows[tile.queries], tile)
        for k, lists in self._lists.items():
            lists.add(tile.neighbours.starts, tile.neighbours.rows, tile.neighbours.squared, k)

    def measured(self, searched: Searched) -> dict[Wanted, Measured]:
        """All scores, after the last tile; those without near duplicates need a second search in what was searched."""
        pooled = {each: Measured(np.float64(each.metric.score(self._lists[each.k]))) for each in self._pooled}
        return self._measured | pooled | (self._without_duplicates(searched) if self._dropped else {})

    def _enter(self, measured: dict[Wanted, Measured], wanted: Sequence[Wanted], rows: np.ndarray, tile: Tile) -> None:
        """Enter the scores of the queries of a tile, which are some rows of the split."""
        classes, distance = len(self._embeddings.classes), DISTANCES[self.here.distance].of_squared
        found = Retrieved(some_of(self._own, rows), self._train, classes, tile.neighbours, tile.squared, distance)
        for each in wanted:
            here = found.at(each.temperature)
            score = each.metric.score(here, each.k)
            chance = None if each.metric.query_chance is None else each.metric.query_chance(here, each.k)
            if each not in measured:
                none = np.full((*score.shape[:-1], len(self._own.ids)), np.nan)
                measured[each] = Measured(none, None if chance is None else none.copy())
            measured[each].score[..., rows] = score
            if chance is not None:
                measured[each].chance[..., rows] = chance

    def _without_duplicates(self, searched: Searched) -> dict[Wanted, Measured]:
        """Scores without the query's near duplicates in the gallery: a second search, for the queries that have any."""
        measured = {each: Measured(self._measured[each._replace(dropped=False)].score.copy()) for each in self._dropped}
        greatest = max(each.k for each in self._dropped)
        partners = duplicates.partners(self._embeddings.duplicates, self.here.split)
        partners = partners[np.isin(partners[:, 0], self._rows)]
        has, number = np.unique(partners[:, 0], return_counts=True)
        enough = len(self._train.ids) - number - (self.here.split == "train") >= greatest
        for each in measured.values():
            each.score[has[~enough]] = np.nan
        has = has[enough]
        pairs = np.concatenate([own_rows(self._own.ids, self._train.ids), partners])
        pairs = pairs[np.isin(pairs[:, 0], has)]
        pairs[:, 0] = np.searchsorted(has, pairs[:, 0])
        for tile in searched.nearest(searched.queries(self._own.features[has]), greatest, pairs):
            self._enter(measured, self._dropped, has[tile.queries], tile)
        return measured


def some_of(split: EmbeddingSplit, rows: slice | np.ndarray) -> EmbeddingSplit:
    """Some rows of a split."""
    attributes, identity = (None if part is None else part[rows] for part in (split.attributes, split.identity))
    return EmbeddingSplit(split.features[rows], split.labels[rows], split.ids[rows], attributes, identity)
