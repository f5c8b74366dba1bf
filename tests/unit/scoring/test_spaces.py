"""Several spaces from the same products: against float64 differences, and against a search of each space alone."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_distances

from visrec.scoring import neighbours, transforms
from visrec.scoring.neighbours import Searched, Space, full, grid, spaces
from visrec.scoring.ranking import ranked

BLOCKS = [slice(0, 5), slice(5, 7), slice(7, 20)]
WEIGHTS = (1.0, 0.3, 7.0)


def normal(rows, seed=0):
    found = np.random.default_rng(seed).normal(size=(rows, 20)) * np.repeat([1, 4, 0.2], [5, 2, 13]) + 0.5
    return found.astype(np.float32)


def distances(queries, gallery, spaces, exclude=None, k=3):
    """Squared distances in each space, float64 (Q, N), and the lists of its tiles."""
    searched = Searched.of(gallery, [queries], BLOCKS)
    asked = searched.queries(queries)
    squared, lists = ([[] for _ in spaces] for _ in range(2))
    for number, tile in searched.tiles(asked, [(space, k) for space in spaces], exclude):
        squared[number].append(tile.squared.numpy().copy())
        lists[number].append(tile.neighbours)
    return [np.concatenate(each) for each in squared], lists


def weighted(rows, weights):
    return np.concatenate([rows[:, block].astype(np.float64) * w for block, w in zip(BLOCKS, weights, strict=True)], 1)


def test_distances_are_those_of_weighted_features():
    queries, gallery = normal(30), normal(200, seed=1)
    spaces = [Space(w, d) for w in ((1.0, 1.0, 1.0), WEIGHTS, (0.0, 0.0, 1.0)) for d in ("l2", "cosine")]
    found, _ = distances(queries, gallery, spaces)
    for space, squared in zip(spaces, found, strict=True):
        q, g = weighted(queries, space.weights), weighted(gallery, space.weights)
        expected = np.square(q[:, None] - g).sum(axis=-1) if space.distance == "l2" else 2 * cosine_distances(q, g)
        np.testing.assert_allclose(squared, expected, rtol=3e-6, atol=1e-5)


def test_unweighted_l2_is_the_full_search_to_the_last_bit():
    queries, gallery, exclude = normal(30), normal(200, seed=1), np.array([[0, 3], [7, 5]])
    (found,), (lists,) = distances(queries, gallery, [Space((1.0, 1.0, 1.0), "l2")], exclude)
    (tile,) = neighbours.tiles(queries, gallery, 3, exclude, full=True)
    assert np.array_equal(found, tile.squared.numpy())
    for name in ("starts", "rows", "squared"):
        assert np.array_equal(getattr(lists[0], name), getattr(tile.neighbours, name))


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_lists_are_the_nearest_and_pairs_stay_apart(distance):
    queries, gallery = normal(30), normal(200, seed=1)
    exclude = np.array([[2, 1], [2, 199], [9, 0]])
    (squared,), (lists,) = distances(queries, gallery, [Space(WEIGHTS, distance)], exclude, k=4)
    assert np.isinf(squared[exclude[:, 0], exclude[:, 1]]).all()
    assert np.isinf(squared).sum() == 3
    rows = np.concatenate([each.rows for each in lists]).reshape(30, 4)
    assert np.array_equal(rows, np.argsort(squared, axis=1)[:, :4])


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), WEIGHTS])
def test_equal_rows_tie_and_are_at_distance_zero(weights):
    gallery = np.repeat(normal(40), 2, axis=0)
    l2, cosine = distances(gallery[::2], gallery, [Space(weights, "l2"), Space(weights, "cosine")])[0]
    for squared in (l2, cosine):
        assert np.array_equal(squared[:, ::2], squared[:, 1::2])
        assert (np.diagonal(squared[:, ::2]) == 0).all()
        assert (squared >= 0).all()
        ranked(torch.from_numpy(squared), torch.zeros(squared.shape, dtype=torch.bool))  # the last bit is free
    twice, _ = distances(gallery[::2], np.concatenate([gallery[::2], 2 * gallery[::2]]), [Space(weights, "cosine")])
    assert (np.diagonal(twice[0][:, 40:]) == 0).all()  # of one direction


def test_zero_rows_have_cosine_0_with_others_and_1_with_each_other():
    rows = normal(6)
    rows[[1, 4]] = 0
    rows[2, BLOCKS[2]] = 0
    whole, last = distances(rows, rows, [Space((1.0, 1.0, 1.0), "cosine"), Space((0.0, 0.0, 1.0), "cosine")])[0]
    assert whole[1].tolist() == [2, 0, 2, 2, 0, 2]
    assert last[2].tolist() == [2, 0, 0, 2, 0, 2]
    assert whole[2, 1] == 2


def test_tiles_blocks_threads_and_the_order_of_rows_do_not_show(monkeypatch):
    queries, gallery, before = normal(50), normal(300, seed=1), torch.get_num_threads()
    spaces = [Space((1.0, 1.0, 1.0), "cosine"), Space(WEIGHTS, "l2"), Space(WEIGHTS, "cosine")]
    expected, _ = distances(queries, gallery, spaces)
    monkeypatch.setattr(full, "MATRIX", 300 * 3 * 7)
    monkeypatch.setattr(full, "ROWS", 11)
    monkeypatch.setitem(grid.ENTRIES, "cpu", 200)
    torch.set_num_threads(2)
    order, turn = np.random.default_rng(0).permutation(300), np.random.default_rng(1).permutation(50)
    found, lists = distances(queries[turn], gallery[order], spaces)
    torch.set_num_threads(before)
    assert len(lists[0]) == 50 // 7 + 1
    for here, there in zip(expected, found, strict=True):
        assert np.array_equal(there, here[turn][:, order])


def test_a_short_and_narrow_block_is_there_a_second_time_for_the_spaces_that_need_it():
    queries, gallery = normal(30), normal(200, seed=1)
    for rows in (queries, gallery):
        rows[:, BLOCKS[1]] *= 1e-6
    gallery[3] = gallery[5] = queries[7]
    searched = Searched.of(gallery, [queries], BLOCKS)
    assert searched.rows.shape == (200, 22)
    assert searched.gallery.rows.shape == (200, 20)
    several = [Space(w, d) for w in ((1.0, 1e6, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 1.0)) for d in ("l2", "cosine")]
    assert all(searched.resolves(searched.queries(queries), space) for space in several)
    found, lists = distances(queries, gallery, several, np.array([[2, 1]]))
    for space, squared, (tile,) in zip(several, found, lists, strict=True):
        q, g = weighted(queries, space.weights), weighted(gallery, space.weights)
        expected = np.square(q[:, None] - g).sum(axis=-1) if space.distance == "l2" else 2 * cosine_distances(q, g)
        expected[2, 1] = np.inf
        np.testing.assert_allclose(squared, expected, rtol=3e-6, atol=3e-6 * np.median(expected))
        assert np.array_equal(tile.rows[tile.starts[:-1]], squared.argmin(axis=1))
        assert squared[7, 3] == squared[7, 5] == 0
        ranked(torch.from_numpy(squared), torch.zeros(squared.shape, dtype=torch.bool))  # the last bit is free
    assert found[4].tobytes() == distances(queries, gallery, several[4:5], np.array([[2, 1]]))[0][0].tobytes()
    (tile,) = neighbours.tiles(queries, gallery, 3, np.array([[2, 1]]), full=True)
    assert np.array_equal(found[4], tile.squared.numpy())  # the space that needs no second grid is as without
    near = neighbours.nearest(queries, gallery, 3)
    again = [tile.neighbours.rows for tile in searched.nearest(searched.queries(queries), 3)]
    assert np.array_equal(np.concatenate(again), near.rows)


def test_spaces_that_the_grid_is_too_coarse_for_are_told(monkeypatch):
    monkeypatch.setattr(spaces, "NARROW", 0)  # no block is there a second time
    gallery = normal(200)
    gallery[:, BLOCKS[1]] *= 1e-6
    searched = Searched.of(gallery, [gallery[:20]], BLOCKS)
    queries = searched.queries(gallery[:20])
    assert searched.resolves(queries, Space((1.0, 1.0, 1.0), "l2"))
    assert searched.resolves(queries, Space((1.0, 1.0, 1.0), "cosine"))
    assert searched.resolves(queries, Space((1.0, 0.0, 1.0), "l2"))
    assert not searched.resolves(queries, Space((0.0, 1.0, 0.0), "l2"))
    assert not searched.resolves(queries, Space((1.0, 1e6, 1.0), "cosine"))
    short = gallery.copy()
    short[7] *= 1e-6  # its direction would be lost
    for asked, held in ((short[:20], gallery), (gallery[:20], short)):
        searched = Searched.of(held, [asked], BLOCKS)
        assert not searched.resolves(searched.queries(asked), Space((1.0, 1.0, 1.0), "cosine"))
    far = (gallery + 1e4).astype(np.float32)  # a mean that is longer than the grid counts
    searched = Searched.of(far, [far[:20]], BLOCKS)
    assert not searched.resolves(searched.queries(far[:20]), Space((1.0, 1.0, 1.0), "cosine"))


@pytest.mark.parametrize("name", [name for name, each in transforms.TRANSFORMS.items() if each.weights])
def test_weights_are_what_the_transform_does(name):
    train, layers = normal(100), dict(zip("abc", BLOCKS, strict=True))
    weights = transforms.TRANSFORMS[name].weights(train, layers)
    kept = np.repeat(weights, [5, 2, 13]) > 0
    np.testing.assert_allclose(weighted(train, weights)[:, kept], transforms.fit(name, train, layers)(train), rtol=1e-6)


def test_no_query_no_tile():
    searched = Searched.of(normal(5), [normal(0)], BLOCKS)
    queries = searched.queries(normal(0))
    assert list(searched.tiles(queries, [(Space(WEIGHTS, "l2"), 1)])) == []
    assert searched.resolves(queries, Space(WEIGHTS, "cosine"))
    assert math.isfinite(searched.lengths.sum())
