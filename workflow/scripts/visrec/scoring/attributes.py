"""Shared attributes as graded relevance: NDCG with the Jaccard index as gain, expected under random ties."""

import numpy as np

CELLS = 2**22  # pairs of a query and a gallery row in memory at once (32 MiB of float64)


def ndcg_jaccard(
    starts: np.ndarray,
    rows: np.ndarray,
    squared: np.ndarray,
    query_attributes: np.ndarray,
    gallery_attributes: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@k of each query with the Jaccard index of attributes as gain, and what a random ranking scores.

        DCG = sum over ranks i <= k of gain_i / log2(i + 1),    gain = |a and b| / |a or b|, 0 if both are empty

    over the DCG of the k best gains of the gallery. Tied rows share their mean gain (McSherry and Najork 2008).

    Args:
        starts: int64 (Q + 1,), see `Neighbours`.
        rows: int64 (E,).
        squared: float64 (E,).
        query_attributes: (Q, A), 0 or 1.
        gallery_attributes: (N, A), 0 or 1.
        k: at most the k of the search.

    Returns:
        the score and its chance, float64 (Q,); NaN where no gallery row has a gain.
    """
    queries = len(starts) - 1
    discounts = 1 / np.log2(np.arange(k) + 2)
    cumulative = np.concatenate([[0.0], np.cumsum(discounts)])
    b = gallery_attributes.astype(np.float32)
    sizes = b.sum(axis=1)
    dcg, ideal, mean = np.zeros(queries), np.zeros(queries), np.zeros(queries)
    step = max(1, CELLS // len(b))
    for start in range(0, queries, step):
        part = slice(start, min(start + step, queries))
        a = query_attributes[part].astype(np.float32)
        shared = a @ b.T  # counts: exact in float32
        gains = shared / np.maximum(a.sum(axis=1)[:, None] + sizes - shared, 1).astype(np.float64)

        entries = slice(starts[part.start], starts[part.stop])
        query = np.repeat(np.arange(part.stop - part.start), np.diff(starts[part.start : part.stop + 1]))
        gain = gains[query, rows[entries]]
        rank = np.arange(len(query)) - (starts[part] - entries.start)[query]
        (first,) = np.nonzero((rank == 0) | (np.diff(squared[entries], prepend=np.nan) != 0))
        ties = np.diff(first, append=len(query))
        reached = cumulative[np.minimum(rank[first] + ties, k)] - cumulative[np.minimum(rank[first], k)]
        dcg[part] = np.bincount(query[first], np.add.reduceat(gain, first) / ties * reached)

        mean[part] = gains.mean(axis=1)
        gains.partition(gains.shape[1] - k, axis=1)
        ideal[part] = np.sort(gains[:, -k:], axis=1)[:, ::-1] @ discounts
    ideal[ideal == 0] = np.nan
    return dcg / ideal, mean * cumulative[-1] / ideal
