"""The nearest rows of a gallery: exactly, or for large ones through an inverted file with a recall that is measured.

Up to `limit` rows every distance counts (`visrec.scoring.neighbours`). Beyond, faiss sorts the rows into about
4 sqrt(N) cells by k-means and looks into the `probes` cells whose centres are nearest to the query. The rows it brings,
several times more than asked for, are put into order by their exact distances. `probes` is the smallest number that
finds the share `recall` of the true k nearest, averaged over some rows of the gallery that ask for their neighbours.

faiss brings an OpenMP of its own, so it is imported only where it is used, and told how many threads it has.
"""

import hashlib
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec.data.files import atomic, write_text
from visrec.errors import UserError
from visrec.scoring import neighbours

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

KIND = "visrec index 2"
SAMPLE = 2000  # rows that ask for their own neighbours
CELL_SAMPLE = 40  # rows per cell that k-means looks at; faiss warns below 39
ITERATIONS = 10  # of k-means
SPARE = 32  # rows that are put into order beside those asked for
HALF = 60_000  # values beyond it are not stored in 16 bits
BLOCK = 2**24  # float64 values in memory at once while distances are computed


@dataclass(frozen=True)
class Index:
    """A gallery that can be asked.

    Attributes:
        features: float32 (N, D).
        own: float64 (n,), ascending: the distances of n rows, drawn at random, to their nearest other row, as this
            search finds it.
        cells: the inverted file, or None where the search is exact.
        probes: how many cells are looked into.
        recall: share of the true k nearest found so, measured on the n rows; 1 where the search is exact.
        threads: of the search.
        prepared: a rounded copy of the features, on the device of the search, where it is exact; else None.
    """

    features: np.ndarray
    own: np.ndarray
    cells: Any = None
    probes: int = 0
    recall: float = 1.0
    threads: int = 1
    prepared: neighbours.Gallery | None = None

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query.

        Args:
            queries: float32 (Q, D), finite.
            k: 1 to N.

        Returns:
            rows int64 (Q, k) and L2 distances float64 (Q, k), nearest first; of equal ones the lower row.

        Raises:
            UserError: k is larger than N.
        """
        if k > len(self.features):
            raise UserError(f"k = {k}, but the gallery has only {len(self.features)} pictures; ask for fewer")
        if self.prepared is not None:
            return _exactly(self.prepared, self.features, queries, k)
        wanted = min(len(self.features), max(4 * k, k + SPARE))
        return _in_order(queries, self.features, _candidates(self, queries, wanted), k)

    def p_values(self, distances: np.ndarray) -> np.ndarray:
        """Conformal p-values (Q,): how rare it is among the n rows to be as far from the nearest other one.

        p = (1 + the number of `own` that are at least the distance) / (n + 1). If a query were drawn like the gallery's
        pictures, p would be at most t with a probability of at most about t.

        Args:
            distances: float64 (Q,), of queries to their nearest row.
        """
        n = len(self.own)
        return (1 + n - np.searchsorted(self.own, distances, side="left")) / (n + 1)

    def describe(self) -> str:
        """How it searches, in one sentence."""
        if self.cells is None:
            return f"Searched exactly, among {len(self.features):,} pictures."
        count = f"{len(self.features):,}"
        return (
            f"Searched approximately, among {count} pictures: {self.probes} of {self.cells.nlist} cells; "
            f"of {len(self.own):,} gallery pictures this found {100 * self.recall:.1f} % of the true neighbours."
        )


def build(
    features: np.ndarray,
    k: int,
    folder: str | Path,
    identity: str,
    *,
    limit: int = 200_000,
    recall: float = 0.95,
    threads: int = 1,
    device: "str | torch.device" = "cpu",
) -> Index:
    """The index of a gallery, from `folder` if it was built for the same one before.

    Args:
        features: float32 (N, D), N at least 1.
        k: number of neighbours that `recall` is about.
        folder: for index.json and, if the search is approximate, index.faiss.
        identity: a text that changes when the features do.
        limit: the largest N that is searched exactly.
        recall: share of the true k nearest to find, above 0, at most 1.
        threads: of faiss.
        device: of exact searches.
    """
    folder = Path(folder)
    exact = len(features) <= limit
    # Of an exact search k and recall change nothing.
    about = {"kind": KIND, "gallery": identity, "exact": exact} | ({} if exact else {"k": k, "recall": recall})
    # Cells have the name of what they belong to: no process that is killed leaves those of another gallery behind.
    cells_file = folder / f"cells-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.faiss"
    saved = _saved(folder / "index.json", about)
    if saved is not None and (exact or cells_file.exists()):
        cells = None if exact else _read_cells(cells_file, threads)
        prepared = neighbours.prepare(features, device=device) if exact else None
        made = Index(features, np.array(saved["own"]), cells, saved["probes"], saved["measured"], threads, prepared)
    else:
        log.info("building the index of %s pictures with %d values", f"{len(features):,}", features.shape[1])
        made = _exact(features, device) if exact else _approximate(features, min(k, len(features) - 1), recall, threads)
        if not exact:
            _write_cells(made.cells, cells_file)
        found = {"own": made.own.tolist(), "probes": made.probes, "measured": made.recall}
        write_text(folder / "index.json", json.dumps({"about": about} | found) + "\n")
        for old in folder.glob("cells-*.faiss"):
            if old != cells_file:
                old.unlink(missing_ok=True)
    log.info("%s", made.describe())
    return made


def _saved(path: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """What was written for the same gallery and question; None if there is no such thing."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); delete it and run again") from error
    return saved if saved["about"] == about else None


def _sample(count: int) -> np.ndarray:
    """A fixed choice of rows, ascending."""
    return np.sort(np.random.default_rng(0).choice(count, min(count, SAMPLE), replace=False))


def _exact(features: np.ndarray, device: "str | torch.device") -> Index:
    prepared = neighbours.prepare(features, device=device)
    if len(features) < 2:
        return Index(features, np.zeros(0), prepared=prepared)
    rows = _sample(len(features))
    pairs = np.column_stack([np.arange(len(rows)), rows])
    found = prepared.nearest(features[rows], 1, pairs)
    return Index(features, np.sort(np.sqrt(found.squared[found.starts[:-1]])), prepared=prepared)


def _exactly(
    prepared: neighbours.Gallery, features: np.ndarray, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows and their distances, (Q, k), as `Index.search` says."""
    rows, squared = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    held = prepared.holds(queries)
    # Each of the others gets a grid of its own, or the farthest would round away what tells the gallery's rows apart.
    for asked in [held, *(np.array([number]) for number in np.flatnonzero(~held))]:
        part = queries[asked]
        if asked is held:
            found = prepared.nearest(part, k)
        else:
            found = neighbours.nearest(part, features, k, device=prepared.rows.device)
        first = found.starts[:-1, None] + np.arange(k)
        rows[asked], squared[asked] = found.rows[first], found.squared[first]
    return rows, np.sqrt(squared)


def _approximate(features: np.ndarray, k: int, recall: float, threads: int) -> Index:
    faiss = _faiss(threads)
    count, width = features.shape
    cells = max(1, min(count // CELL_SAMPLE, round(4 * math.sqrt(count))))
    kind = "SQfp16" if max(features.max(), -features.min()) < HALF else "Flat"
    index = faiss.index_factory(width, f"IVF{cells},{kind}")
    index.cp.seed, index.cp.niter = 0, ITERATIONS
    index.cp.min_points_per_centroid = index.cp.max_points_per_centroid = CELL_SAMPLE
    index.train(features)
    index.add(features)

    rows = _sample(count)
    asked = features[rows]
    _, near = faiss.knn(asked, features, k + 1 + SPARE if count > k + SPARE else count)
    near, distances = _in_order(asked, features, near, near.shape[1])
    others = [np.flatnonzero(near[i] != row)[:k] for i, row in enumerate(rows)]
    true = np.stack([distances[i][chosen] for i, chosen in enumerate(others)])

    def to_others(probes: int) -> np.ndarray:
        found, lengths = Index(features, np.zeros(0), index, probes, 0.0, threads).search(asked, k + 1)
        return np.where(found == rows[:, None], np.inf, lengths)

    def measured(probes: int) -> float:
        # By distance: of equally near rows each is as right as the other.
        near = to_others(probes) <= true[:, -1:] * (1 + 1e-9)
        return float(np.minimum(near.sum(axis=1), k).mean() / k)

    high = 1
    while (reached := measured(high)) < recall and high < cells:
        high = min(2 * high, cells)
    low = high // 2  # not enough, as was just seen
    while high - low > 1:
        middle = (low + high) // 2
        share = measured(middle)
        low, high, reached = (low, middle, share) if share >= recall else (middle, high, reached)
    if reached < recall:
        log.warning("all %d cells give a recall of %.4f; %.4f was asked for", cells, reached, recall)
    # Of queries, too, the nearest is sometimes missed: with exact distances here p would come out too small.
    return Index(features, np.sort(to_others(high).min(axis=1)), index, high, reached, threads)


def _candidates(index: Index, queries: np.ndarray, wanted: int) -> np.ndarray:
    """Rows int64 (Q, wanted) from the inverted file; -1 where the cells hold fewer."""
    _faiss(index.threads)
    asked = np.ascontiguousarray(queries)
    # Not as search's `params`: a process that has imported faiss.contrib.torch_utils has a `search` without them.
    index.cells.nprobe = index.probes
    _, rows = index.cells.search(asked, wanted)
    short = (rows >= 0).sum(axis=1) < wanted
    if short.any():  # few and small cells: look into all
        index.cells.nprobe = index.cells.nlist
        _, rows[short] = index.cells.search(asked[short], wanted)
    return rows


def _in_order(queries: np.ndarray, features: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of some rows (Q, C), by distances in float64 from differences; of equal ones the lower row."""
    near, lengths = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
    step = max(1, BLOCK // (rows.shape[1] * features.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = features[rows[part]].astype(np.float64)
        difference -= queries[part, None, :]
        squared = np.einsum("qcd,qcd->qc", difference, difference)
        order = np.lexsort((rows[part], squared))[:, :k]
        near[part] = np.take_along_axis(rows[part], order, axis=1)
        lengths[part] = np.sqrt(np.take_along_axis(squared, order, axis=1))
    return near, lengths


def _faiss(threads: int) -> Any:
    import faiss

    faiss.omp_set_num_threads(threads)
    return faiss


def _write_cells(cells: Any, path: Path) -> None:
    import faiss

    with atomic(path) as temporary:
        faiss.write_index(cells, str(temporary))


def _read_cells(path: Path, threads: int) -> Any:
    faiss = _faiss(threads)
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read by faiss; delete it and run again") from error
