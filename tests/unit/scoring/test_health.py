import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from visrec.scoring import health


def all_rows(squared):
    """Lists with the whole gallery for each query: starts, rows, squared."""
    squared = np.asarray(squared, float)
    rows = np.argsort(squared, axis=1, kind="stable")
    queries, gallery = squared.shape
    starts = np.arange(0, queries * gallery + 1, gallery)
    return starts, rows.ravel(), np.take_along_axis(squared, rows, axis=1).ravel()


def possible_lists(distances, k):
    """Every list of the k nearest that random order of ties can give, all equally probable."""
    kth = sorted(distances)[k - 1]
    nearer = [row for row, d in enumerate(distances) if d < kth]
    tied = [row for row, d in enumerate(distances) if d == kth]
    return [nearer + list(chosen) for chosen in itertools.combinations(tied, k - len(nearer))]


def recommended(squared, k, gallery=None):
    found = health.Recommended(gallery or len(squared[0]))
    found.add(*all_rows(squared), k)
    return found


TABLE = st.integers(1, 3).flatmap(
    lambda queries: st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=queries, max_size=queries)
)


@settings(max_examples=30, deadline=None)
@given(TABLE, st.integers(1, 5))
def test_ties_count_with_their_expected_value(squared, k):
    counts, never, outcomes = np.zeros(5), np.zeros(5), 0
    for lists in itertools.product(*(possible_lists(distances, k) for distances in squared)):
        times = np.bincount(list(itertools.chain(*lists)), minlength=5)
        counts += times
        never += times == 0
        outcomes += 1
    found = recommended(squared, k)
    np.testing.assert_allclose(found.counts, counts / outcomes, atol=1e-12)
    np.testing.assert_allclose(found.never, never / outcomes, atol=1e-12)
    assert health.coverage(found.never) == pytest.approx(1 - (never / outcomes).mean())


def test_counts_by_hand_and_over_tiles():
    # The first list is {0, 1}; the second has 0 and one of the tied 1 and 2; row 3 is in none.
    squared = [[1, 2, 3, 3], [0, 5, 5, 6]]
    found = recommended(squared, 2)
    assert found.counts.tolist() == [2, 1.5, 0.5, 0]
    assert found.never.tolist() == [0, 0, 0.5, 1]
    assert health.coverage(found.never) == pytest.approx(2.5 / 4)

    in_tiles = health.Recommended(4)
    assert in_tiles.never.tolist() == [1] * 4
    for distances in squared:
        in_tiles.add(*all_rows([distances]), 2)
    in_tiles.add(np.array([0]), np.zeros(0, int), np.zeros(0), 2)  # a tile without queries
    assert (in_tiles.counts.tolist(), in_tiles.never.tolist()) == (found.counts.tolist(), found.never.tolist())


def test_gini_by_hand_and_by_its_definition():
    assert health.gini(np.array([2.0, 2, 2])) == 0
    assert health.gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert health.gini(np.array([1, 3])) == pytest.approx(1 / 4)
    assert math.isnan(health.gini(np.zeros(3)))
    counts = np.random.default_rng(0).gamma(0.5, size=50)
    by_pairs = np.abs(counts[:, None] - counts).sum() / (2 * 50**2 * counts.mean())
    assert health.gini(counts) == pytest.approx(by_pairs)


def test_skewness_by_hand():
    # 0, 0, 0, 4: mean 1, second moment 12/4 = 3, third moment (3 * -1 + 27)/4 = 6.
    assert health.skewness(np.array([0, 0, 0, 4])) == pytest.approx(6 / 3**1.5)
    assert health.skewness(np.array([1.0, 2, 3])) == pytest.approx(0)
    for constant in (np.zeros(4), np.full(4, 3.0), np.full(4, 0.3) + np.arange(4) * 1e-16):
        assert math.isnan(health.skewness(constant))


def random_lists(queries, k, gallery):
    return itertools.product(itertools.combinations(range(gallery), k), repeat=queries)


@pytest.mark.parametrize(
    ("queries", "k", "gallery"), [(1, 1, 3), (2, 2, 4), (3, 1, 3), (3, 2, 4), (4, 3, 4), (3, 3, 3)]
)
def test_coverage_and_gini_of_random_lists_by_enumeration(queries, k, gallery):
    coverage, gini = [], []
    for lists in random_lists(queries, k, gallery):
        counts = np.bincount(list(itertools.chain(*lists)), minlength=gallery)
        coverage.append(health.coverage(counts == 0))
        gini.append(health.gini(counts))
    assert health.random_coverage(queries, k, gallery) == pytest.approx(np.mean(coverage))
    assert health.random_gini(queries, k, gallery) == pytest.approx(np.mean(gini), abs=1e-12)


def test_random_lists_agree_with_a_simulation():
    rng = np.random.default_rng(1)
    queries, k, gallery = 400, 4, 500
    counts = np.bincount(np.concatenate([rng.permutation(gallery)[:k] for _ in range(queries)]), minlength=gallery)
    assert health.random_coverage(queries, k, gallery) == pytest.approx(np.mean(counts > 0), abs=0.03)
    assert health.random_gini(queries, k, gallery) == pytest.approx(health.gini(counts), abs=0.03)
    assert health.random_skewness(queries, k, gallery) == pytest.approx(health.skewness(counts), abs=0.3)


def test_random_lists_by_hand():
    assert health.random_coverage(10_000, 3, 70_000) == pytest.approx(1 - np.exp(-30_000 / 70_000), abs=1e-4)  # 35 %
    assert health.random_coverage(2, 5, 5) == 1
    assert health.random_coverage(0, 2, 5) == 0
    assert health.random_gini(7, 1, 1) == 0
    assert math.isnan(health.random_gini(0, 2, 5))
    assert 0 < health.random_gini(70_000, 10, 60_000) < 1
    # Binomial(100, .2): (1 - .4) / sqrt(16)
    assert health.random_skewness(100, 2, 10) == pytest.approx(0.15)
    assert health.random_skewness(100, 5, 10) == 0
    assert math.isnan(health.random_skewness(100, 10, 10))
    assert math.isnan(health.random_skewness(0, 1, 10))


@pytest.mark.parametrize("values", [1, 2**20])
@pytest.mark.parametrize("k", [2, 3, 6, 8])
def test_diversity_is_that_of_every_possible_list(monkeypatch, values, k):
    monkeypatch.setattr(health, "VALUES", values)
    rng = np.random.default_rng(k)
    features = rng.normal(size=(8, 3)).astype(np.float32)
    features[2] = 0
    squared = rng.integers(0, 3, (12, 8))
    cosine = cosine_similarity(features.astype(float))
    expected = [
        np.mean(
            [
                1 - np.mean([cosine[a, b] for a, b in itertools.combinations(chosen, 2)])
                for chosen in possible_lists(distances, k)
            ]
        )
        for distances in squared
    ]
    np.testing.assert_allclose(health.diversity(features, *all_rows(squared), k), expected, rtol=1e-12)


def test_diversity_by_hand():
    features = np.array([[1, 0], [3, 0], [0, 2], [0, 0], [-1, 0]], np.float32)

    def of(distances, k):
        return health.diversity(features, *all_rows([distances]), k).tolist()

    assert of([1, 2, 9, 9, 9], 2) == [0]  # parallel
    assert of([1, 9, 2, 9, 9], 2) == [1]  # orthogonal
    assert of([1, 9, 9, 2, 9], 2) == [1]  # a zero vector
    assert of([1, 9, 9, 9, 2], 2) == [2]  # opposite
    assert of([9, 9, 9, 1, 9], 1) == pytest.approx([math.nan], nan_ok=True)
    # Row 0 and one of rows 1 and 2: 0 or 1.
    assert of([1, 2, 2, 9, 9], 2) == pytest.approx([0.5])
    assert health.diversity(features, np.array([0]), np.zeros(0, int), np.zeros(0), 3).shape == (0,)
    same = np.random.default_rng(2).normal(size=(1, 7)).astype(np.float32).repeat(6, axis=0)
    assert health.diversity(same, *all_rows(np.zeros((1, 6))), 4) == pytest.approx([0], abs=1e-12)


def test_overlap_by_hand():
    a, b = np.array([[1, 2, 3], [1, 2, 3], [1, 2, 3]]), np.array([[3, 1, 2], [4, 2, 5], [4, 5, 6]])
    assert health.overlap(a, b).tolist() == [1, 1 / 5, 0]
    names = a.astype(str), b.astype(str)
    assert health.overlap(*names).tolist() == [1, 1 / 5, 0]
    assert health.overlap(np.zeros((0, 3), int), np.zeros((0, 3), int)).shape == (0,)


@pytest.mark.parametrize(("k", "gallery"), [(1, 4), (2, 5), (3, 4), (3, 3)])
def test_overlap_of_random_lists_by_enumeration(k, gallery):
    lists = np.array(list(itertools.combinations(range(gallery), k)))
    mean = np.mean([health.overlap(lists, np.broadcast_to(one, lists.shape)) for one in lists])
    assert health.random_overlap(k, gallery) == pytest.approx(mean)
