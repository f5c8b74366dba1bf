"""Nearest-neighbour search in a gallery: exact, or for large galleries an inverted file with a measured recall.

Up to `limit` rows all distances are computed (`visrec.scoring.neighbours`). Beyond, faiss sorts the rows into about
4 sqrt(N) cells by k-means and searches the `probes` cells whose centres are nearest to the query. The candidates,
several times more than asked for, are sorted by their exact distances. `probes` is the smallest number that finds the
share `recall` of the true k nearest, on average over a sample of the gallery's rows as queries.

faiss has its own OpenMP runtime, so it is imported only where it is used, and told how many threads it has.
"""

import hashlib
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec.data.files import atomic, read_sealed, write_sealed
from visrec.errors import UserError
from visrec.scoring import neighbours

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

KIND = "visrec index 3"
SAMPLE = 2000  # rows of the gallery whose nearest other rows are searched
CELL_SAMPLE = 40  # rows per cell that k-means is fitted on; faiss warns below 39
ITERATIONS = 10  # of k-means
SPARE = 32  # candidates at least, beside the k asked for
HALF = 60_000  # larger values are not stored in 16 bits
BLOCK = 2**24  # float64 values in memory at once while distances are computed


@dataclass(frozen=True)
class SearchOptions:
    """How a gallery is searched.

    Attributes:
        limit: the largest N that is searched exactly.
        recall: share of the true k nearest to find in a larger gallery, above 0, at most 1.
        threads: of faiss.
        device: of exact searches.
    """

    limit: int = 200_000
    recall: float = 0.95
    threads: int = 1
    device: "str | torch.device" = "cpu"


@dataclass(frozen=True)
class Index:
    """A gallery that can be searched.

    Attributes:
        features: float32 (N, D).
        own: float64 (n,), ascending: the distances of n rows, drawn at random, to their nearest other row, as this
            search finds it.
        cells: faiss's inverted file, or None where the search is exact.
        probes: how many cells are searched.
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
        """Conformal p-values (Q,): how rare it is among the n rows to be as far from the nearest other row.

        p = (1 + the number of `own` that are at least the distance) / (n + 1). For a query drawn like the gallery's
        pictures, p is at most t with a probability of at most about t.

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
    features: np.ndarray, k: int, folder: str | Path, identity: str, options: SearchOptions | None = None
) -> Index:
    """The index of a gallery, read from `folder` if one was built for the same gallery and options before.

    Args:
        features: float32 (N, D), N at least 1.
        k: number of neighbours at which the recall is measured.
        folder: for index.json and, if the search is approximate, cells-*.faiss.
        identity: a text that changes when the features do.
        options: `SearchOptions()` by default.
    """
    folder, options = Path(folder), options or SearchOptions()
    exact = len(features) <= options.limit
    built_for = {"kind": KIND, "gallery": identity, "exact": exact}
    if not exact:
        built_for |= {"k": k, "recall": options.recall}
    # The name says what the cells belong to: whenever a process is killed, no index finds the cells of another.
    cells_file = folder / f"cells-{hashlib.sha256(json.dumps(built_for).encode()).hexdigest()[:16]}.faiss"
    saved = _saved(folder / "index.json", built_for)
    if saved is not None and (exact or cells_file.exists()):
        index = Index(
            features,
            own=np.array(saved["own"]),
            cells=None if exact else _read_cells(cells_file, saved["cells"], options.threads),
            probes=saved["probes"],
            recall=saved["measured"],
            threads=options.threads,
            prepared=neighbours.prepare(features, device=options.device) if exact else None,
        )
    else:
        log.info("building the index of %s pictures with %d values", f"{len(features):,}", features.shape[1])
        if exact:
            index = _exact(features, options.device)
        else:
            index = _approximate(features, min(k, len(features) - 1), options.recall, options.threads)
            _write_cells(index.cells, cells_file)
        to_save = {"built_for": built_for, "own": index.own.tolist(), "probes": index.probes, "measured": index.recall}
        if not exact:
            to_save["cells"] = _digest(cells_file)
        write_sealed(folder / "index.json", to_save)
        for old in folder.glob("cells-*.faiss"):
            if old != cells_file:
                old.unlink(missing_ok=True)
    log.info("%s", index.describe())
    return index


def _saved(path: Path, built_for: dict[str, Any]) -> dict[str, Any] | None:
    """What was saved for the same gallery and options; None if nothing was."""
    saved = read_sealed(path)
    return saved if saved.get("built_for") == built_for else None


def _sample(count: int) -> np.ndarray:
    """At most `SAMPLE` rows, drawn at random with a fixed seed, ascending."""
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
    # The other queries are searched one by one: on one grid with the farthest of them, rounding could make rows of the
    # gallery equal.
    for chosen in [held, *(np.array([number]) for number in np.flatnonzero(~held))]:
        part = queries[chosen]
        if chosen is held:
            found = prepared.nearest(part, k)
        else:
            found = neighbours.nearest(part, features, k, device=prepared.rows.device)
        first = found.starts[:-1, None] + np.arange(k)
        rows[chosen], squared[chosen] = found.rows[first], found.squared[first]
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
        # Compared by distance: of rows at the same distance each is right.
        near = to_others(probes) <= true[:, -1:] * (1 + 1e-9)
        return float(np.minimum(near.sum(axis=1), k).mean() / k)

    high = 1
    while (reached := measured(high)) < recall and high < cells:
        high = min(2 * high, cells)
    low = high // 2  # too few, as just measured
    while high - low > 1:
        middle = (low + high) // 2
        share = measured(middle)
        low, high, reached = (low, middle, share) if share >= recall else (middle, high, reached)
    if reached < recall:
        log.warning("even all %d cells give a recall of %.4f, less than %.4f", cells, reached, recall)
    # Not the exact distances: the search sometimes misses the nearest row of a query as well, and p would be too small.
    return Index(features, np.sort(to_others(high).min(axis=1)), index, high, reached, threads)


def _candidates(index: Index, queries: np.ndarray, wanted: int) -> np.ndarray:
    """Rows int64 (Q, wanted) from the inverted file; -1 where the cells hold fewer."""
    _faiss(index.threads)
    asked = np.ascontiguousarray(queries)
    # Not as an argument of `search`: importing faiss.contrib.torch_utils replaces it by one without `params`.
    index.cells.nprobe = index.probes
    _, rows = index.cells.search(asked, wanted)
    short = (rows >= 0).sum(axis=1) < wanted
    if short.any():  # few and small cells: search all
        index.cells.nprobe = index.cells.nlist
        _, rows[short] = index.cells.search(asked[short], wanted)
    return rows


def _in_order(queries: np.ndarray, features: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of candidate rows (Q, C), by differences in float64; of equally near ones the lower row first."""
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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_cells(path: Path, checksum: str, threads: int) -> Any:
    if _digest(path) != checksum:
        raise UserError(f"{path}: is damaged, its checksum does not fit; delete it and run again")
    faiss = _faiss(threads)
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read by faiss; delete it and run again") from error
