"""One pass over the distances between the queries of a split and the gallery: the scores of all metrics asked for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from visrec.data import duplicates
from visrec.data.embeddings import Embeddings, EmbeddingSplit
from visrec.scoring import health, neighbours
from visrec.scoring.metrics import HEADLINE_ONLY, LABELS, RANKING, Metric
from visrec.scoring.retrieved import Retrieved
from visrec.scoring.transforms import DISTANCES, Change


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


def measure(
    here: Pass,
    embeddings: Embeddings,
    space: Change,
    wanted: Iterable[Wanted],
    greatest: int,
    device: torch.device,
    asked: np.ndarray | None = None,
) -> dict[Wanted, Measured]:
    """Measure metrics in one pass, or two if near duplicates are to be dropped.

    Args:
        here: the pass.
        embeddings: with labels.
        space: features of some images -> float32 (n, D), those of the pass: new, or the features themselves.
        wanted: what to measure.
        greatest: number of neighbours to search for, at least the greatest k.
        device: where to compute.
        asked: int64 (q,), rows of the split that are queries, ascending; None: all. Others have no score.
    """
    wanted = dict.fromkeys(wanted)
    own, train = embeddings.splits[here.split], embeddings.splits["train"]
    asked = np.arange(len(own.ids)) if asked is None else asked
    of_queries = [each for each in wanted if not (each.metric.pooled or each.dropped)]
    pooled = [each for each in wanted if each.metric.pooled]
    lists = {each.k: health.Recommended(len(train.ids)) for each in pooled}
    left_out = neighbours.own_rows(own.ids[asked], train.ids)
    classes, distance = len(embeddings.classes), DISTANCES[here.distance].of_squared
    full = any(each.metric.needs == RANKING for each in of_queries)
    measured: dict[Wanted, Measured] = {}
    features = own.features if len(asked) == len(own.ids) else own.features[asked]  # no second copy of all
    for tile in _tiles(space, features, train.features, greatest, left_out, full=full, device=device):
        rows = asked[tile.queries]
        found = Retrieved(_some(own, rows), train, classes, tile.neighbours, tile.squared, distance)
        for each in of_queries:
            _measure(measured, each, found, rows, len(own.ids))
        for k, lists_so_far in lists.items():
            lists_so_far.add(tile.neighbours.starts, tile.neighbours.rows, tile.neighbours.squared, k)
    for each in pooled:
        measured[each] = Measured(np.float64(each.metric.score(lists[each.k])))
    dropped = [each for each in wanted if each.dropped]
    if dropped:
        kept = {each: measured[_kept(each)] for each in dropped}
        measured |= _without_duplicates(here, embeddings, space, kept, device, asked)
    return measured


def _tiles(
    space: Change, queries: np.ndarray, gallery: np.ndarray, k: int, left_out: np.ndarray, **more: Any
) -> Iterator[neighbours.Tile]:
    """`visrec.scoring.neighbours.tiles` in a space; there is no second copy of its gallery beside the rounded one."""
    rows = space(gallery)
    return neighbours.tiles(space(queries), rows, k, left_out, overwrite=rows is not gallery, **more)


def _kept(each: Wanted) -> Wanted:
    return each._replace(dropped=False)


def _some(split: EmbeddingSplit, rows: slice | np.ndarray) -> EmbeddingSplit:
    """Some rows of a split."""
    attributes, identity = (None if part is None else part[rows] for part in (split.attributes, split.identity))
    return EmbeddingSplit(split.features[rows], split.labels[rows], split.ids[rows], attributes, identity)


def _measure(
    measured: dict[Wanted, Measured], each: Wanted, found: Retrieved, rows: slice | np.ndarray, number: int
) -> None:
    """Enter the scores of some rows of the queries, of which there are `number`."""
    found = found.at(each.temperature)
    score = each.metric.score(found, each.k)
    chance = None if each.metric.query_chance is None else each.metric.query_chance(found, each.k)
    if each not in measured:
        none = np.full((*score.shape[:-1], number), np.nan)
        measured[each] = Measured(none, None if chance is None else none.copy())
    measured[each].score[..., rows] = score
    if chance is not None:
        measured[each].chance[..., rows] = chance


def _without_duplicates(
    here: Pass,
    embeddings: Embeddings,
    space: Change,
    kept: Mapping[Wanted, Measured],
    device: torch.device,
    asked: np.ndarray,
) -> dict[Wanted, Measured]:
    """Scores without the query's near duplicates in the gallery: a second search, for the queries that have any.

    Args:
        here: the pass.
        embeddings: with labels and near duplicates.
        space: as for `measure`.
        kept: what is wanted, with what it is if duplicates are kept.
        device: where to compute.
        asked: rows of the split that are queries.
    """
    own, train = embeddings.splits[here.split], embeddings.splits["train"]
    measured = {each: Measured(known.score.copy()) for each, known in kept.items()}
    classes, distance = len(embeddings.classes), DISTANCES[here.distance].of_squared
    greatest = max(each.k for each in kept)
    partners = duplicates.partners(embeddings.duplicates, here.split)
    partners = partners[np.isin(partners[:, 0], asked)]
    has, number = np.unique(partners[:, 0], return_counts=True)
    enough = len(train.ids) - number - (here.split == "train") >= greatest
    for each in measured:
        measured[each].score[has[~enough]] = np.nan
    has = has[enough]
    pairs = np.concatenate([neighbours.own_rows(own.ids, train.ids), partners])
    pairs = pairs[np.isin(pairs[:, 0], has)]
    pairs[:, 0] = np.searchsorted(has, pairs[:, 0])
    for tile in _tiles(space, own.features[has], train.features, greatest, pairs, device=device):
        rows = has[tile.queries]
        found = Retrieved(_some(own, rows), train, classes, tile.neighbours, distance=distance)
        for each in measured:
            _measure(measured, each, found, rows, len(own.ids))
    return measured
