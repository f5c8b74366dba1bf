"""Exact and approximate search, against distances computed by hand."""

import json

import numpy as np
import pytest

from visrec.errors import UserError
from visrec.recommender import index
from visrec.recommender.index import SearchOptions


def clustered(rows, dims=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, dims)) * 5
    return (centres[rng.integers(20, size=rows)] + rng.normal(size=(rows, dims))).astype(np.float32)


def by_hand(queries, features, k):
    distances = np.sqrt(((queries[:, None].astype(np.float64) - features[None]) ** 2).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.fixture(scope="module")
def features():
    return clustered(3000)


def test_exact_search_and_the_distances_of_the_gallery_to_itself(features, tmp_path):
    found = index.build(features[:500], 3, tmp_path, "x")
    queries = clustered(40, seed=1)
    rows, distances = found.search(queries, 3)
    true, lengths = by_hand(queries, features[:500], 3)
    assert np.array_equal(rows, true)
    assert distances == pytest.approx(lengths, rel=1e-5)
    _, own = by_hand(features[:500], features[:500], 2)  # the nearest is the row itself
    assert found.own == pytest.approx(np.sort(own[:, 1]), rel=1e-5)
    assert (found.cells, found.recall) == (None, 1)


def test_of_equally_near_rows_the_first(tmp_path):
    features = np.array([[1, 0], [0, 1], [0, -1], [3, 0]], np.float32)
    rows, distances = index.build(features, 2, tmp_path, "x").search(np.zeros((1, 2), np.float32), 2)
    assert rows.tolist() == [[0, 1]]
    assert distances.tolist() == [[1, 1]]


def test_exact_search_of_queries_far_outside_the_gallery(tmp_path):
    features = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    queries = np.array([[1000, 3], [0.75, 0], [-5e6, 0], [0, 0.5]], np.float32)
    found = index.build(features, 2, tmp_path, "x")
    rows, distances = found.search(queries, 2)
    true, lengths = by_hand(queries, features, 2)
    assert found.prepared.holds(queries).tolist() == [False, True, False, True]
    assert rows.tolist() == true.tolist()
    assert distances == pytest.approx(lengths, rel=1e-6)
    assert found.search(queries[:0], 2)[0].shape == (0, 2)


def test_a_query_far_outside_does_not_blur_another(tmp_path):
    features = clustered(200)
    far = features[:2] * np.float32(40)
    found = index.build(features, 3, tmp_path, "x")
    absurd = np.full((1, 16), 1e30, np.float32)
    rows, distances = found.search(np.concatenate([far, absurd]), 3)
    true, lengths = by_hand(far, features, 3)
    assert not found.prepared.holds(far).any()
    assert np.array_equal(rows[:2], true)
    assert distances[:2] == pytest.approx(lengths, rel=1e-5)


def test_exact_search_in_a_gallery_of_one(tmp_path):
    found = index.build(np.array([[3, 4]], np.float32), 1, tmp_path, "x")
    rows, distances = found.search(np.array([[0, 0], [3, 4]], np.float32), 1)
    assert (rows.tolist(), distances.tolist()) == ([[0], [0]], [[5], [0]])


def test_a_gallery_is_prepared_once(features, tmp_path, monkeypatch):
    found = index.build(features[:500], 3, tmp_path, "x")
    monkeypatch.setattr(index.neighbours, "finest_grid", None)
    queries = clustered(3, seed=1)
    alone = [found.search(query[None], 3) for query in queries]
    rows, distances = found.search(queries, 3)
    assert np.array_equal(np.concatenate([each for each, _ in alone]), rows)
    assert np.array_equal(np.concatenate([each for _, each in alone]), distances)


def test_approximate_search_reaches_its_recall_and_gives_exact_distances(features, tmp_path):
    found = index.build(features, 5, tmp_path, "x", SearchOptions(limit=100, recall=0.9, threads=2))
    assert found.cells.nlist == 75  # 3000 / 40, less than 4 sqrt(3000)
    queries = clustered(200, seed=1)
    rows, distances = found.search(queries, 5)
    true, lengths = by_hand(queries, features, 5)
    share = np.mean([np.isin(a, b).mean() for a, b in zip(rows, true, strict=True)])
    assert found.recall >= 0.9
    assert share >= 0.85
    for query, row, distance in zip(queries, rows, distances, strict=True):
        chosen = np.sqrt(((query.astype(np.float64) - features[row]) ** 2).sum(axis=1))
        assert distance == pytest.approx(chosen)
        assert (np.diff(distance) >= 0).all()
    right = (rows == true).all(axis=1)
    assert distances[right] == pytest.approx(lengths[right])
    assert f"found {100 * found.recall:.1f} %" in found.describe()


def test_the_measured_recall_is_that_of_an_exhaustive_search_and_own_distances_are_the_searchs_own(features, tmp_path):
    small = features[:1500]  # all of them are the sample
    found = index.build(small, 5, tmp_path, "x", SearchOptions(limit=100, recall=0.9, threads=2))
    true, _ = by_hand(small, small, 6)
    rows, near = found.search(small, 6)
    itself = rows == np.arange(len(small))[:, None]
    assert found.own == pytest.approx(np.sort(np.where(itself, np.inf, near).min(axis=1)), rel=1e-6)
    hits = [len((set(a) & set(b)) - {i}) for i, (a, b) in enumerate(zip(rows, true, strict=True))]
    assert found.recall == pytest.approx(np.mean(hits) / 5)
    assert found.recall >= 0.9
    fewer = index.Index(small, found.own, found.cells, found.probes - 1, 0, 2)
    if found.probes > 1:
        rows, _ = fewer.search(small, 6)
        hits = [len((set(a) & set(b)) - {i}) for i, (a, b) in enumerate(zip(rows, true, strict=True))]
        assert np.mean(hits) / 5 < 0.9  # `probes` is the smallest that is enough


def test_one_query_in_twenty_is_unusual_also_where_neighbours_are_missed(tmp_path):
    """Queries drawn like the gallery; with exact own distances 13.6 % would be below 0.05."""
    rows = np.random.default_rng(5).normal(size=(6000, 16)).astype(np.float32)
    found = index.build(rows[:3000], 3, tmp_path, "x", SearchOptions(limit=100, recall=0.3, threads=1))
    assert 0.3 <= found.recall < 0.6
    p = found.p_values(found.search(rows[3000:], 3)[1][:, 0])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)


def test_all_cells_find_everything(features, tmp_path):
    found = index.build(features, 5, tmp_path, "x", SearchOptions(limit=100, recall=1.0))
    queries = clustered(50, seed=1)
    every = index.Index(features, found.own, found.cells, found.cells.nlist, 1.0)
    assert np.array_equal(every.search(queries, 5)[0], by_hand(queries, features, 5)[0])
    assert every.search(queries[:2], 3000)[0].shape == (2, 3000)  # also more than the cells looked into hold
    assert found.search(queries[:2], 3000)[0].shape == (2, 3000)


def test_the_same_gallery_gives_the_same_index(features, tmp_path):
    one, two = (index.build(features, 5, tmp_path / name, "x", SearchOptions(limit=100, threads=2)) for name in "ab")
    queries = clustered(50, seed=1)
    assert (one.probes, one.recall) == (two.probes, two.recall)
    assert np.array_equal(one.search(queries, 5)[0], two.search(queries, 5)[0])


def test_an_index_is_kept_until_the_gallery_changes(features, tmp_path, monkeypatch):
    first = index.build(features, 5, tmp_path, "x", SearchOptions(limit=100))
    again = clustered(50, seed=1)
    with monkeypatch.context() as without:
        without.setattr(index, "_approximate", None)
        saved = index.build(features, 5, tmp_path, "x", SearchOptions(limit=100))
    assert np.array_equal(first.search(again, 5)[0], saved.search(again, 5)[0])
    assert (saved.probes, saved.recall, saved.own.tolist()) == (first.probes, first.recall, first.own.tolist())
    changed = index.build(features[:2000], 5, tmp_path, "y", SearchOptions(limit=100))
    assert len(changed.search(again, 5)[0]) == 50
    assert len(list(tmp_path.glob("cells-*.faiss"))) == 1
    assert json.loads((tmp_path / "index.json").read_text())["built_for"]["gallery"] == "y"
    next(tmp_path.glob("cells-*.faiss")).unlink()
    index.build(features[:2000], 5, tmp_path, "y", SearchOptions(limit=100))  # made again
    next(tmp_path.glob("cells-*.faiss")).write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged, its checksum does not fit; delete it"):
        index.build(features[:2000], 5, tmp_path, "y", SearchOptions(limit=100))


def test_values_beyond_sixteen_bits(tmp_path):
    features = clustered(400) * 1e5
    found = index.build(features, 3, tmp_path, "x", SearchOptions(limit=100))
    assert np.array_equal(found.search(features[:20], 1)[0][:, 0], np.arange(20))


def test_small_galleries(tmp_path):
    one = index.build(np.ones((1, 2), np.float32), 1, tmp_path, "x")
    assert one.search(np.zeros((2, 2), np.float32), 1)[0].tolist() == [[0], [0]]
    assert len(one.own) == 0
    assert one.p_values(np.array([0.0, 9.0])).tolist() == [1, 1]
    with pytest.raises(UserError, match="k = 2, but the gallery has only 1 pictures"):
        one.search(np.zeros((2, 2), np.float32), 2)


def test_p_values_by_hand():
    found = index.Index(np.zeros((4, 1), np.float32), np.array([1.0, 2.0, 2.0, 5.0]))
    # How many of 1, 2, 2, 5 are at least the distance, and the query itself, of five.
    assert found.p_values(np.array([0.5, 2.0, 2.1, 5.0, 6.0])).tolist() == [1, 4 / 5, 2 / 5, 2 / 5, 1 / 5]
