import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from visrec.errors import UserError
from visrec.scoring import neighbours
from visrec.scoring.neighbours import candidates, grid, products, smallest
from visrec.scoring.neighbours import full as all_distances
from visrec.scoring.neighbours import tile as searched_tiles


def grid_of(queries, gallery):
    """Centre and step."""
    made = grid.finest_grid([torch.from_numpy(gallery), torch.from_numpy(queries)])
    return made.centre.numpy(), made.step


def brute(queries, gallery, exclude=(), grid=None):
    """Squared distances on the grid by plain integers, float64 (Q, N), inf where excluded."""
    centre, step = grid or grid_of(queries, gallery)
    q, g = (np.rint((x.astype(np.float64) - centre) / step).astype(np.int64) for x in (queries, gallery))
    squared = np.stack([np.square(g - row).sum(axis=1) for row in q]) * step**2
    for pair in exclude:
        squared[tuple(pair)] = np.inf
    return squared


def expected_lists(squared, k):
    """All up to the k-th distance, as sorted (squared distance, row)."""
    pairs = [sorted((value, i) for i, value in enumerate(row) if value < np.inf) for row in squared.tolist()]
    return [[pair for pair in row if pair[0] <= row[k - 1][0]] for row in pairs]


def lists(found):
    entries = list(zip(found.squared.tolist(), found.rows.tolist(), strict=True))
    return [entries[start:stop] for start, stop in zip(found.starts[:-1], found.starts[1:], strict=True)]


def search_full(queries, gallery, k, exclude=None):
    """Lists and distances of the other engine."""
    parts = list(neighbours.tiles(queries, gallery, k, exclude, full=True))
    squared = np.concatenate([part.squared.numpy() for part in parts])
    return [entries for part in parts for entries in lists(part.neighbours)], squared


def check(queries, gallery, k, exclude=None):
    """Both engines equal plain integers to the last bit, and differences in float64 within the stated bound."""
    squared = brute(queries, gallery, () if exclude is None else exclude)
    expected = expected_lists(squared, k)
    found = neighbours.nearest(queries, gallery, k, exclude)
    assert [x.dtype for x in (found.starts, found.rows, found.squared)] == [np.int64, np.int64, np.float64]
    assert lists(found) == expected
    full, distances = search_full(queries, gallery, k, exclude)
    assert full == expected
    assert np.array_equal(distances, squared)
    true = np.stack([np.sqrt(np.square(gallery.astype(np.float64) - row).sum(axis=1)) for row in queries])
    bound = math.sqrt(queries.shape[1]) * grid_of(queries, gallery)[1]
    kept = squared < np.inf
    assert (np.abs(np.sqrt(squared[kept]) - true[kept]) <= bound + 1e-12 * true[kept]).all()


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def self_pairs(n):
    return np.column_stack([np.arange(n), np.arange(n)])


def test_by_hand():
    gallery = np.array([[0.0], [1.0], [-1.0], [3.0], [1.0]], np.float32)
    found = neighbours.nearest(np.array([[0.0]], np.float32), gallery, 2)
    assert lists(found) == [[(0.0, 0), (1.0, 1), (1.0, 2), (1.0, 4)]]
    nearer, tied = found.count(np.array([0, 1, 1, 2, 0]), 3, 2)
    assert nearer.tolist() == [[1, 0, 0]]
    assert tied.tolist() == [[1, 2, 0]]
    nearer, tied = found.count(np.array([0, 1, 1, 2, 0]), 3, 1)  # k below that of the search
    assert nearer.tolist() == [[0, 0, 0]]
    assert tied.tolist() == [[1, 0, 0]]


def test_all_distances_by_hand():
    gallery = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]], np.float32)
    (tile,) = neighbours.tiles(gallery[:2], gallery, 1, np.array([[0, 0], [1, 1], [0, 0]]), full=True)
    assert tile.squared.dtype == torch.float64
    assert tile.squared.tolist() == [[math.inf, 25.0, 1.0], [25.0, math.inf, 20.0]]
    assert lists(tile.neighbours) == [[(1.0, 2)], [(20.0, 2)]]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_equals_brute_force(k):
    check(normal(30, 17), normal(80, 17, seed=1), k)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_equals_brute_force_in_groups_of_columns(k):
    check(normal(40, 6), normal(700, 6, seed=1), k)


@pytest.mark.parametrize("k", [1, 4])
def test_equals_brute_force_with_ties_and_duplicates(k):
    gallery = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(np.float32)
    check(gallery, gallery, k, self_pairs(60))
    assert max(map(len, lists(neighbours.nearest(gallery, gallery, k, self_pairs(60))))) > k


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    queries, gallery = (rng.integers(0, 256, (n, 30)).astype(np.float32) for n in (50, 900))
    found = neighbours.nearest(queries, gallery, 7)
    # No ties among the first seven: each query has exactly seven rows, in one order.
    assert np.diff(found.starts).tolist() == [7] * 50
    distances, rows = NearestNeighbors(n_neighbors=7, algorithm="kd_tree").fit(gallery).kneighbors(queries)
    assert np.array_equal(found.rows.reshape(50, 7), rows)
    assert np.sqrt(found.squared.reshape(50, 7)) == pytest.approx(distances, rel=1e-14)


def test_only_the_excluded_pairs_are_left_out():
    gallery = np.zeros((3, 2), np.float32)  # three copies of one image
    found = neighbours.nearest(gallery, gallery, 1, self_pairs(3))
    assert [[row for _, row in entries] for entries in lists(found)] == [[1, 2], [0, 2], [0, 1]]
    rows = normal(50, 3)
    rng = np.random.default_rng(1)
    several = np.column_stack([rng.integers(0, 50, 400), rng.integers(0, 50, 400)])
    check(rows, rows, 5, np.concatenate([several, several[:100]]))  # some twice


def test_excluded_rows_may_be_nearly_all():
    rows = normal(40, 3)
    exclude = np.array([(q, row) for q in range(40) for row in range(40) if (q + row) % 20])
    check(rows, rows, 2, exclude)  # two are left to each


# Values from everyday to the ends of float32, so that products cancel, overflow and underflow.
magnitudes = st.sampled_from([1e-44, 1e-30, 1e-3, 1.0, 1e4, 1e18, 3e38])
elements = st.one_of(
    st.integers(-2, 2).map(float),
    st.floats(-1, 1, width=32),
    st.floats(999.75, 1000.25, width=32),  # far from the origin, near each other
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_brute_force_on_anything(data):
    dimensions, n = data.draw(st.integers(1, 9)), data.draw(st.integers(3, 14))
    scale = np.array(data.draw(st.lists(magnitudes, min_size=1, max_size=2)))  # of even and odd columns
    rows = data.draw(hnp.arrays(np.float32, (n, dimensions), elements=elements))
    rows = np.clip(rows * np.resize(scale, dimensions), -3e38, 3e38).astype(np.float32)
    check(rows, rows, data.draw(st.integers(1, n - 1)), self_pairs(n))


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((4, 3), np.float32),
        np.full((4, 3), 0.1, np.float32),
        np.full((3, 2), 3.4e38, np.float32),
        normal(6, 1),
        normal(5, 10_000),
        np.concatenate([normal(5, 3), np.full((5, 4), 1e30, np.float32)], axis=1),  # constant columns
        np.array([[3.4e38, -3.4e38], [-3.4e38, 3.4e38], [1e-45, 0.0]], np.float32),
        normal(4, 0),
    ],
    ids=["zeros", "constant", "constant, huge", "one column", "10,000 columns", "some constant", "whole range", "none"],
)
def test_peculiar_features(rows):
    for k in (1, len(rows)):
        check(rows[:2], rows, k)


def test_one_gallery_row():
    check(normal(3, 5), normal(1, 5, seed=1), 1)


def test_no_queries():
    found = neighbours.nearest(normal(0, 5), normal(4, 5), 2)
    assert (found.starts.tolist(), found.rows.tolist(), found.squared.tolist()) == ([0], [], [])
    assert (found.starts.dtype, found.rows.dtype) == (np.int64, np.int64)
    assert list(neighbours.tiles(normal(0, 5), normal(4, 5), 2, full=True)) == []


def test_grid_by_hand():
    # The middle is 1/2. On the coarser grid of 2^-22 the longest row is 2^21; 2^24 takes it 4 times, as 8 times with
    # rounding might just exceed 2^24.
    centre, step = grid_of(np.array([[1.0]], np.float32), np.array([[0.0], [1.0]], np.float32))
    assert (centre.tolist(), step) == ([0.5], 2.0**-24)


def test_grid_is_centred_on_the_mean_of_the_gallery():
    gallery = np.array([[0.0], [0.0], [0.0], [4.0]], np.float32)
    centre, _ = grid_of(np.array([[2.0]], np.float32), gallery)
    assert centre.tolist() == [1.0]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    dimensions=st.integers(1, 40),
    offset=st.sampled_from([0.0, 1e3, 1e6]),
    tail=st.booleans(),
)
def test_grid_is_as_fine_as_stated(seed, dimensions, offset, tail):
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(1.5, (30, dimensions)) if tail else rng.exponential(size=(30, dimensions))
    rows = (rows + offset).astype(np.float32)
    centre, step = grid_of(rows[:10], rows[10:])
    assert math.frexp(step)[0] == 0.5
    assert np.array_equal(np.rint(centre / step), centre / step)
    integers = np.rint((rows.astype(np.float64) - centre) / step)
    assert np.square(integers).sum(axis=1).max() <= 2**48
    longest = np.sqrt(np.square(rows.astype(np.float64) - centre).sum(axis=1)).max()
    assert step < 2**-23 * longest * (1 + dimensions * 2**-20)


def test_grid_does_not_depend_on_order_or_blocks(monkeypatch):
    queries, gallery, rng = normal(20, 37), normal(300, 37, seed=1), np.random.default_rng(2)
    centre, step = grid_of(queries, gallery)
    columns = rng.permutation(37)
    monkeypatch.setitem(grid.ENTRIES, "cpu", 100)
    other, same = grid_of(queries[::-1][:, columns].copy(), gallery[rng.permutation(300)][:, columns])
    assert same == step
    assert np.array_equal(other, centre[columns])


def test_multiples_of_a_power_of_two_are_not_rounded():
    rng = np.random.default_rng(0)
    flags, pixels = rng.integers(0, 2, (40, 300)), rng.integers(0, 256, (40, 3072))
    for integers, unit in ((flags, 1), (flags, 2.0**-60), (pixels, 1), (pixels, 2 / 256)):
        rows = (integers * unit).astype(np.float32)
        _, squared = search_full(rows, rows, 1)
        true = np.square(integers[:, None] - integers[None]).sum(axis=-1) * unit**2
        assert np.array_equal(squared, true)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000), tile=st.integers(1, 40), block=st.integers(1, 40), entries=st.integers(1, 200),
    matrix=st.sampled_from([1, 31, 100, 1000, 10**6]), k=st.integers(1, 12), thirds=st.booleans(),
)  # fmt: skip
def test_independent_of_tiles_and_row_order(seed, tile, block, entries, matrix, k, thirds):
    rng = np.random.default_rng(seed)
    queries, gallery = (
        rng.integers(0, 4, (n, 3)).astype(np.float32) / 3 if thirds else rng.normal(size=(n, 3)).astype(np.float32)
        for n in (20, 30)
    )
    exclude = np.column_stack([rng.integers(0, 20, 30), rng.integers(0, 18, 30)])
    expected = lists(neighbours.nearest(queries, gallery, k, exclude))
    full, squared = search_full(queries, gallery, k, exclude)
    assert full == expected
    order, turn = rng.permutation(30), rng.permutation(20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searched_tiles, "QUERIES", tile)
        patch.setattr(candidates, "GALLERY", block)
        patch.setattr(all_distances, "MATRIX", matrix)
        patch.setattr(candidates, "CANDIDATES", matrix)
        patch.setitem(grid.ENTRIES, "cpu", entries)
        assert lists(neighbours.nearest(queries, gallery, k, exclude)) == expected
        full, other = search_full(queries, gallery, k, exclude)
        assert full == expected
        assert np.array_equal(other, squared)
        moved = np.column_stack([np.argsort(turn)[exclude[:, 0]], np.argsort(order)[exclude[:, 1]]])
        shuffled = lists(neighbours.nearest(queries[turn], gallery[order], k, moved))
        _, other = search_full(queries[turn], gallery[order], k, moved)
    assert np.array_equal(other, squared[turn][:, order])
    for i, entries in zip(turn, shuffled, strict=True):
        assert sorted((distance, int(order[row])) for distance, row in entries) == expected[i]


def test_independent_of_threads():
    queries, gallery, before = normal(64, 300), normal(500, 300, seed=1), torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        full, squared = search_full(queries, gallery, 5)
        results.append((lists(neighbours.nearest(queries, gallery, 5)), full, squared.tolist()))
    torch.set_num_threads(before)
    assert results[0] == results[1]
    assert results[0][0] == results[0][1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_the_gpu_finds_the_same_bits():
    queries, gallery = normal(300, 200), normal(5000, 200, seed=1)
    exclude = np.column_stack([np.arange(300), np.arange(300) * 7])
    here, there = (neighbours.nearest(queries, gallery, 10, exclude, device=name) for name in ("cpu", "cuda"))
    for name in ("starts", "rows", "squared"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
    tiles = [
        torch.cat([tile.squared.cpu() for tile in neighbours.tiles(queries, gallery, 3, full=True, device=name)])
        for name in ("cpu", "cuda")
    ]
    assert torch.equal(*tiles)


def test_distances_that_float32_products_cannot_order():
    # Squared distances differ by parts in 10^7, far below the rounding of a product of 2,000 terms.
    rng = np.random.default_rng(0)
    query = rng.normal(size=2000).astype(np.float32)
    gallery = np.repeat((query + rng.normal(size=2000))[None].astype(np.float32), 50, axis=0)
    for i, column in enumerate(rng.permutation(2000)[:50]):
        gallery[i, column] += 1e-4
    queries = np.stack([query, query + 1])
    check(queries, gallery, 7)
    assert len(np.unique(brute(queries, gallery)[0])) > 40


def test_the_bound_holds_and_is_not_idle():
    rng = np.random.default_rng(0)
    gamma = 402 * 2.0**-24 / (1 - 402 * 2.0**-24)
    for direction in (rng.normal(size=400), np.ones(400)):  # of all rows: products of one sign add up
        q, g = (
            np.rint((rng.normal(size=(n, 400)) + 3 * direction) * rng.exponential(size=(n, 1)) * 2**15)
            for n in (30, 50)
        )
        b = np.square(g).sum(axis=1)
        assert b.max() <= 2**48
        approximate = torch.addmm(*(torch.from_numpy(x).float() for x in (b, q, g.T)), alpha=-2).double().numpy()
        off = np.abs(approximate - (b - 2 * q @ g.T))
        norms = torch.from_numpy(np.square(q).sum(axis=1)).sqrt()[:, None]
        bound = candidates.product_error(gamma, norms, torch.from_numpy(b)).numpy()
        assert (off <= bound).all()
        assert (off > 0).mean() > 0.5


@pytest.mark.parametrize("far", [0, 10])
@pytest.mark.parametrize("seed", range(3))
def test_the_candidates_suffice_for_any_products_within_the_bound(seed, far, monkeypatch):
    # Real products never come near their bound: these are moved nearly all the way, up or down at random. The gallery
    # is a sphere about the queries, where the bound is wider than the spread of distances; and a crowd elsewhere.
    rng = np.random.default_rng(seed)
    queries, gallery = rng.normal(size=(40, 300)), rng.normal(size=(400, 300))
    queries *= 1e-5 / np.linalg.norm(queries, axis=1, keepdims=True)
    gallery *= (1 + 5e-6 * rng.normal(size=(400, 1))) / np.linalg.norm(gallery, axis=1, keepdims=True)
    gallery = np.concatenate([gallery, np.zeros((800, 300)) - far])
    queries, gallery = queries.astype(np.float32), gallery.astype(np.float32)
    step = 302 * 2.0**-24

    def worst(q, block, out):
        q, b = q.double(), block.double().square().sum(dim=1)
        error = 0.99 * step / (1 - step) * (b + 2 * q.square().sum(dim=1).sqrt()[:, None] * b.sqrt())
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], error.shape))
        return out.copy_(q @ block.double().T + signs * error / 2)  # of b - 2 q.g

    monkeypatch.setattr(candidates, "multiply", worst)
    assert lists(neighbours.nearest(queries, gallery, 3)) == expected_lists(brute(queries, gallery), 3)


def test_candidates_are_few_where_distances_differ():
    rows = normal(1000, 400)
    searched = grid.Rounded.of(torch.from_numpy(rows), grid.finest_grid([torch.from_numpy(rows)]))
    points = searched.grid.integers(searched.rows[:100])
    query, _ = candidates.find_candidates(searched, points, 10, torch.from_numpy(self_pairs(100)))
    assert 100 * 10 <= len(query) < 100 * 12


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(2, 50), dimensions=st.integers(1, 40), k=st.integers(1, 2))
def test_a_prepared_gallery_gives_the_same_alone_and_among_others(seed, rows, dimensions, k):
    gallery = normal(rows, dimensions, seed=seed)
    prepared = neighbours.prepare(gallery)
    farthest = np.linalg.norm(gallery - gallery.mean(axis=0), axis=1).max()
    queries = normal(20, dimensions, seed=seed + 1)
    away = queries - gallery.mean(axis=0)
    away *= np.minimum(1, 1.9 * farthest / np.linalg.norm(away, axis=1, keepdims=True))
    queries = gallery.mean(axis=0) + away
    assert prepared.holds(queries).all()
    squared = brute(queries, gallery, grid=(prepared.grid.centre.numpy(), prepared.grid.step))
    expected = expected_lists(squared, k)
    assert lists(prepared.nearest(queries, k)) == expected
    assert [lists(prepared.nearest(query[None], k))[0] for query in queries] == expected
    differences = np.square(queries[:, None].astype(np.float64) - gallery).sum(axis=2)
    assert np.sqrt(squared) == pytest.approx(np.sqrt(differences), abs=2**-20 * float(farthest) * math.sqrt(dimensions))


def test_a_prepared_gallery_leaves_pairs_out():
    gallery = normal(30, 4)
    prepared = neighbours.prepare(gallery)
    squared = brute(gallery, gallery, self_pairs(30), (prepared.grid.centre.numpy(), prepared.grid.step))
    assert lists(prepared.nearest(gallery, 3, self_pairs(30))) == expected_lists(squared, 3)


def test_what_a_prepared_gallery_holds_by_hand():
    # The mean is 0 and rows may have up to 2^23 steps. On the coarser grid of 2^-21 they have 2^21; twice as many are
    # sure to fit, four times as many with rounding are not. So a step is 2^-22, and 2^24 of them are 4.
    prepared = neighbours.prepare(np.array([[-1.0], [1.0]], np.float32))
    queries = np.array([[0.0], [2.0], [-4.0], [4.000001], [-1e30]], np.float32)
    assert prepared.grid.step == 2.0**-22
    assert prepared.holds(queries).tolist() == [True, True, True, False, False]
    assert prepared.holds(queries[:0]).tolist() == []
    assert prepared.nearest(queries[:3], 1).squared.tolist() == [1.0, 1.0, 1.0, 9.0]
    with pytest.raises(ValueError, match="too far"):
        prepared.nearest(queries, 1)


def test_a_prepared_gallery_of_one_point_holds_that_point_alone():
    prepared = neighbours.prepare(np.full((3, 2), 5, np.float32))
    queries = np.array([[5, 5], [5, np.nextafter(np.float32(5), np.float32(6))], [1e30, 5]], np.float32)
    assert prepared.holds(queries).tolist() == [True, False, False]
    assert lists(prepared.nearest(queries[:1], 1)) == [[(0.0, 0), (0.0, 1), (0.0, 2)]]


def test_many_ties_take_the_other_engine(monkeypatch):
    rows = np.repeat(normal(4, 3), 100, axis=0)
    expected = lists(neighbours.nearest(rows, rows, 5))
    assert [len(entries) for entries in expected] == [100] * 400
    monkeypatch.setattr(all_distances, "MATRIX", 10_000)
    monkeypatch.setattr(candidates, "CANDIDATES", 10_000)
    seen, full = [], searched_tiles.all_squared
    monkeypatch.setattr(searched_tiles, "all_squared", lambda *a: seen.append(len(a[1])) or full(*a))
    found = list(neighbours.tiles(rows, rows, 5))
    assert seen == [25] * 16
    assert all(tile.squared is None for tile in found)
    assert [entries for tile in found for entries in lists(tile.neighbours)] == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_entries_up_to_a_limit(data):
    shape = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 60))
    numbers = st.one_of(st.integers(0, 9).map(float), st.just(math.inf))
    values = data.draw(hnp.arrays(np.float32, shape, elements=numbers))
    limit = data.draw(hnp.arrays(np.float64, shape[0], elements=numbers))
    span, of = data.draw(st.integers(1, shape[1])), torch.from_numpy(values)
    minima = smallest.group_minima(of, span)
    assert minima.shape[1] == shape[1] // span + shape[1] % span
    row, column, value = smallest.entries_up_to(of, minima, span, torch.from_numpy(limit))
    expected = zip(*np.nonzero((values <= limit[:, None]) & (values < np.inf)), strict=True)
    assert sorted(zip(row.tolist(), column.tolist(), strict=True)) == sorted(expected)
    assert np.array_equal(value.numpy(), values[row.numpy(), column.numpy()])


def test_features_are_rounded_a_block_at_a_time(monkeypatch):
    monkeypatch.setitem(grid.ENTRIES, "cpu", 700)
    monkeypatch.setattr(searched_tiles, "QUERIES", 20)
    monkeypatch.setattr(all_distances, "MATRIX", 3000)
    monkeypatch.setattr(candidates, "CANDIDATES", 3000)
    seen, integers = [], grid.Grid.integers
    monkeypatch.setattr(grid.Grid, "integers", lambda grid, x: seen.append(len(x)) or integers(grid, x))
    rows = normal(300, 7)
    for full in (False, True):
        for _ in neighbours.tiles(rows, rows, 2, full=full):
            pass
    assert max(seen) == 100
    assert rows.tobytes() == normal(300, 7).tobytes()  # and in a copy


def test_products_are_float32_even_where_the_caller_allows_less():
    a, b = (torch.from_numpy(normal(n, 256, seed=n)) for n in (40, 30))
    torch.set_float32_matmul_precision("medium")
    try:
        found = products.multiply(a, b, torch.empty(40, 30))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, torch.from_numpy(a.numpy() @ b.numpy().T))
    meant = (a.double() @ b.double().T).float()
    assert torch.allclose(found, meant, rtol=1e-5, atol=1e-4)  # bfloat16 has 8 bits


@pytest.mark.parametrize("full", [False, True])
def test_the_gallery_is_overwritten_only_if_that_is_allowed(full):
    queries, gallery = normal(20, 6), normal(60, 6, seed=1)
    expected = lists(neighbours.nearest(queries, gallery, 3))
    assert np.array_equal(gallery, normal(60, 6, seed=1))
    tiles = list(neighbours.tiles(queries, gallery, 3, full=full, overwrite=True))
    assert [entries for tile in tiles for entries in lists(tile.neighbours)] == expected
    assert not np.array_equal(gallery, normal(60, 6, seed=1))
    assert np.array_equal(queries, normal(20, 6))


def test_one_long_row_does_not_change_the_neighbours():
    gallery = normal(700, 5)
    gallery[3] *= 1e6  # it spoils the bounds of its block
    check(normal(30, 5, seed=1), gallery, 4)


def test_tiles_cover_the_queries(monkeypatch):
    monkeypatch.setattr(searched_tiles, "QUERIES", 4)
    monkeypatch.setattr(all_distances, "MATRIX", 30)
    monkeypatch.setattr(candidates, "CANDIDATES", 30)
    rows, queries = normal(10, 3), normal(10, 3, seed=1)
    whole = lists(neighbours.nearest(queries, rows, 2))
    for full, step in ((False, 4), (True, 3)):
        parts = list(neighbours.tiles(queries, rows, 2, full=full))
        assert [(part.queries.start, part.queries.stop) for part in parts] == [
            (start, min(start + step, 10)) for start in range(0, 10, step)
        ]
        assert [entries for part in parts for entries in lists(part.neighbours)] == whole


@pytest.mark.parametrize("most", [candidates.CANDIDATES, 10])  # at 10 the search by candidates gives up
@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_a_gallery_that_asks_itself_shares_its_products(monkeypatch, kind, most):
    monkeypatch.setattr(candidates, "OWN", 7)
    monkeypatch.setattr(candidates, "CANDIDATES", most)
    monkeypatch.setattr(candidates, "EACH", 0)  # it finds out on the way
    looked = []
    multiply = candidates.multiply
    monkeypatch.setattr(candidates, "multiply", lambda a, b, out: looked.append(len(a) * len(b)) or multiply(a, b, out))
    rows = normal(30, 4) if kind == "normal" else np.random.default_rng(1).integers(0, 3, (30, 4)).astype(np.float32)
    exclude = np.concatenate([self_pairs(30), [[0, 29], [29, 3], [8, 7], [6, 7]]])  # not all in both orders
    squared = brute(rows, rows)
    squared[exclude[:, 0], exclude[:, 1]] = np.inf
    assert lists(neighbours.nearest(rows, rows, 3, exclude)) == expected_lists(squared, 3)
    if most > 10:
        assert len(looked) == 15  # pairs of 5 blocks, the last of 2 rows
        assert sum(looked) == (30 * 30 + 4 * 7 * 7 + 2 * 2) / 2


@pytest.mark.parametrize("players", range(1, 9))
def test_in_a_tournament_all_meet_once_and_nobody_is_in_two_pairs_at_once(players):
    rounds = [[tuple(sorted(pair)) for pair in pairs] for pairs in candidates.tournament(players)]
    together = itertools.combinations_with_replacement(range(players), 2)
    assert sorted(pair for pairs in rounds for pair in pairs) == sorted(together)
    for pairs in rounds:
        busy = [player for pair in pairs for player in set(pair)]
        assert len(busy) == len(set(busy))


def test_too_few_rows():
    rows = normal(3, 2)
    check(rows, rows, 3)
    for full in (False, True):
        with pytest.raises(UserError, match="k = 4, but only 3 images"):
            next(neighbours.tiles(rows, rows, 4, full=full))
    with pytest.raises(UserError, match="k = 3, but only 2 images"):
        neighbours.nearest(rows, rows, 3, self_pairs(3))
    twice = np.array([[1, 0], [1, 0]])
    check(rows, rows, 2, twice)
    with pytest.raises(UserError, match="k = 2, but only 1 images"):
        neighbours.nearest(rows, rows, 2, np.array([[1, 0], [1, 2]]))
    with pytest.raises(UserError, match="k = 1, but only 0 images"):
        neighbours.nearest(rows, rows[:0], 1)


@pytest.mark.parametrize("pair", [(0, -1), (-1, 0), (0, 4), (3, 0)])
def test_pairs_that_there_are_not(pair):
    with pytest.raises(IndexError, match="3 queries and 4 gallery rows"):
        neighbours.nearest(normal(3, 2), normal(4, 2), 1, np.array([pair]))


def test_own_rows():
    gallery = np.array(["b", "a", "c", "a", "image 10"])
    assert neighbours.own_rows(np.array(["a", "x", "b", "c"]), gallery).tolist() == [[0, 1], [0, 3], [2, 0], [3, 2]]
    assert neighbours.own_rows(gallery, gallery[[0, 1]]).tolist() == [[0, 0], [1, 1], [3, 1]]
    objects = neighbours.own_rows(np.array(["a", "b"], object), gallery.astype(object))
    assert objects.tolist() == [[0, 1], [0, 3], [1, 0]]
    for none in (
        neighbours.own_rows(gallery, np.array(["x"])),
        neighbours.own_rows(gallery[:0], gallery),
        neighbours.own_rows(gallery, gallery[:0]),
    ):
        assert (none.shape, none.dtype) == ((0, 2), np.int64)


def test_own_rows_leave_the_query_out_by_id():
    rows, ids = np.zeros((4, 2), np.float32), np.array(["d", "c", "b", "a"])  # all alike: only ids tell them apart
    order = np.array([2, 0, 3, 1])
    found = neighbours.nearest(rows[order], rows, 3, neighbours.own_rows(ids[order], ids))
    assert [sorted({0, 1, 2, 3} - {row for _, row in entries}) for entries in lists(found)] == [[2], [0], [3], [1]]
