"""What the metrics in `visrec.scoring.metrics` are computed from: queries, gallery and what the search found."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from visrec.data.embeddings import EmbeddingSplit
from visrec.scoring.attributes import ndcg_jaccard
from visrec.scoring.ranking import ranked

if TYPE_CHECKING:
    import torch

    from visrec.scoring.neighbours import Neighbours


@dataclass(frozen=True)
class Asked:
    """The queries of a split and the gallery that they are searched in: what chance depends on.

    Attributes:
        queries: Q images.
        gallery: N images.
        classes: C.
        leave_one_out: whether each query is in the gallery and does not find itself.
    """

    queries: EmbeddingSplit
    gallery: EmbeddingSplit
    classes: int
    leave_one_out: bool

    @cached_property
    def query_counts(self) -> np.ndarray:
        """Number of queries of each class, int64 (C,)."""
        return np.bincount(self.queries.labels, minlength=self.classes)

    @cached_property
    def gallery_counts(self) -> np.ndarray:
        """Number of gallery images of each class, int64 (C,)."""
        return np.bincount(self.gallery.labels, minlength=self.classes)


@dataclass(frozen=True)
class Retrieved:
    """Some consecutive queries with their nearest neighbours.

    Attributes:
        queries: q images.
        gallery: N images.
        classes: C.
        neighbours: of the queries, numbered from 0, at least as many as the k of any score.
        squared: float64 (q, N), squared distances to the whole gallery, inf = excluded; None where no metric with
            needs = RANKING is measured.
        distance: of squared distances, see `visrec.scoring.transforms.Distance`.
        temperature: T of weights exp(cosine / T), where the distance is 1 - cosine; None: weights are 1 / distance.
    """

    queries: EmbeddingSplit
    gallery: EmbeddingSplit
    classes: int
    neighbours: "Neighbours"
    squared: "torch.Tensor | None" = None
    distance: Callable[[np.ndarray], np.ndarray] = np.sqrt
    temperature: float | None = None
    _known: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, temperature: float | None) -> Self:
        """The same with weights of another temperature."""
        return self if temperature == self.temperature else replace(self, temperature=temperature)

    def counts(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Neighbours.count`: nearer and tied, int64 (q, C)."""
        if k not in self._known:
            self._known[k] = self.neighbours.count(self.gallery.labels, self.classes, k)
        return self._known[k]

    @cached_property
    def weights(self) -> np.ndarray:
        """Weight of each entry of the lists in a vote, float64 (E,), inf at distance 0."""
        squared = self.neighbours.squared
        if self.temperature is not None:
            return np.exp(-squared / 2 / self.temperature)  # exp(s / T) over exp(1 / T), s = 1 - d^2 / 2
        with np.errstate(divide="ignore"):
            return 1 / self.distance(squared)

    @cached_property
    def ranked(self) -> dict[str, np.ndarray]:
        """Scores of the whole rankings, see `visrec.scoring.ranking.ranked`; relevant is what has the query's class."""
        import torch  # seconds: the report needs none of it

        device = self.squared.device
        own, labels = (torch.from_numpy(images.labels).to(device) for images in (self.queries, self.gallery))
        return ranked(self.squared, lambda rows: own[rows, None] == labels)

    def ndcg(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """NDCG@k of shared attributes and its chance, see `visrec.scoring.attributes.ndcg_jaccard`."""
        if ("ndcg", k) not in self._known:
            entries = self.neighbours.starts, self.neighbours.rows, self.neighbours.squared
            attributes = self.queries.attributes, self.gallery.attributes
            self._known["ndcg", k] = ndcg_jaccard(*entries, *attributes, k)
        return self._known["ndcg", k]
