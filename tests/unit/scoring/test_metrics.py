import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from scipy.stats import hypergeom
from sklearn.metrics import ndcg_score
from sklearn.neighbors import KNeighborsClassifier
from torchmetrics.functional.retrieval import retrieval_reciprocal_rank

from visrec.scoring import metrics

# Published class counts of SVHN, digits 0 to 9.
SVHN_TRAIN = np.array([4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659])
SVHN_TEST = np.array([1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595])


def enumerate_ties(nearer, tied, label, k):
    """Precision, accuracy and hit averaged over every choice among the tied images, in exact fractions."""
    certain = [c for c, count in enumerate(nearer) for _ in range(count)]
    group = [c for c, count in enumerate(tied) for _ in range(count)]
    precision, accuracy, hit, choices = Fraction(0), Fraction(0), Fraction(0), 0
    for chosen in itertools.combinations(group, k - len(certain)):
        neighbours = certain + list(chosen)
        votes = [neighbours.count(c) for c in range(len(nearer))]
        winners = [c for c, count in enumerate(votes) if count == max(votes)]
        precision += Fraction(votes[label], k)
        accuracy += Fraction(label in winners, len(winners))
        hit += label in neighbours
        choices += 1
    return float(precision / choices), float(accuracy / choices), float(hit / choices)


@st.composite
def situations(draw):
    classes = draw(st.integers(1, 4))
    nearer = draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes))
    tied = draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes).filter(any))
    k = sum(nearer) + draw(st.integers(1, sum(tied)))
    return nearer, tied, draw(st.integers(0, classes - 1)), k


@settings(deadline=None)
@given(situations())
def test_ties_count_with_their_expected_value(situation):
    nearer, tied, label, k = situation
    precision, accuracy, hit = enumerate_ties(nearer, tied, label, k)
    arguments = np.array([nearer]), np.array([tied]), np.array([label]), k
    assert metrics.expected_precision(*arguments) == pytest.approx([precision], abs=1e-12)
    assert metrics.expected_accuracy(*arguments) == pytest.approx([accuracy], abs=1e-12)
    assert metrics.expected_hit(*arguments) == pytest.approx([hit], abs=1e-12)


def test_ties_by_hand():
    # One certain neighbour of class 0, one of two tied images (classes 0 and 1) to draw, k = 2.
    nearer, tied = np.array([[1, 0], [1, 0]]), np.array([[1, 1], [1, 1]])
    labels = np.array([0, 1])
    assert metrics.expected_precision(nearer, tied, labels, 2).tolist() == [0.75, 0.25]
    # Drawing class 0 decides for it; drawing class 1 leaves the vote level.
    assert metrics.expected_accuracy(nearer, tied, labels, 2) == pytest.approx([0.75, 0.25])
    assert metrics.expected_hit(nearer, tied, labels, 2).tolist() == [1, 0.5]


def test_scores_of_many_queries_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    nearer, tied = rng.integers(0, 2, (40, 5)), rng.integers(1, 3, (40, 5))
    nearer[:, 0] += 5 - nearer.sum(axis=1)  # so that k = 8 draws three of the tied in every row
    labels = rng.integers(0, 5, 40)
    for score in (metrics.expected_precision, metrics.expected_accuracy, metrics.expected_hit):
        alone = [score(nearer[i : i + 1], tied[i : i + 1], labels[i : i + 1], 8)[0] for i in range(40)]
        np.testing.assert_allclose(score(nearer, tied, labels, 8), alone, rtol=1e-12)


def test_vote_without_ties_in_distance_is_plain():
    nearer, tied = np.array([[2, 1, 0], [1, 1, 0], [0, 0, 2]]), np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    votes = metrics.expected_accuracy(nearer[[0, 1]], tied[[0, 1]], np.array([1, 2]), 4 - 1)
    assert votes[1] == pytest.approx(1 / 3)  # one vote each
    assert metrics.expected_accuracy(nearer[:1], tied[:1], np.array([1]), 4) == pytest.approx(0.5)  # two against two
    assert metrics.expected_accuracy(nearer[2:], tied[2:], np.array([0]), 3) == pytest.approx(0.0)


def test_huge_tie_groups_stay_finite():
    nearer, tied = np.zeros((1, 3), int), np.array([[60_000, 30_000, 10_000]])
    for k in (10, 120):
        parts = [metrics.expected_accuracy(nearer, tied, np.array([c]), k)[0] for c in range(3)]
        assert sum(parts) == pytest.approx(1)
        assert parts[0] > parts[1] > parts[2] >= 0


def test_hit_agrees_with_the_hypergeometric_distribution_and_keeps_small_values():
    tied = np.array([[3, 69_997], [1, 10**9], [0, 50], [50, 0], [45, 5]])
    hit = metrics.expected_hit(np.zeros_like(tied), tied, np.zeros(5, int), 10)
    np.testing.assert_allclose(hit, hypergeom.sf(0, tied.sum(axis=1), tied[:, 0], 10), rtol=1e-6)
    assert hit[1] == pytest.approx(10 / (10**9 + 1), rel=1e-12)
    assert hit[2:].tolist() == [0, 1, 1]  # none; all; fewer others than draws
    # Queries that draw three and one of four, one of which has their class.
    nearer, tied = np.array([[0, 0], [0, 2]]), np.array([[1, 3], [1, 3]])
    assert metrics.expected_hit(nearer, tied, np.zeros(2, int), 3) == pytest.approx([3 / 4, 1 / 4])
    assert metrics.expected_hit(*np.zeros((2, 0, 3), int), np.zeros(0, int), 3).shape == (0,)


# Lists of entries: two queries with 2 and 4 entries. At k = 2 the second draws one of the three tied at distance 4.
STARTS, SQUARED = np.array([0, 2, 6]), np.array([1.0, 2.0, 1.0, 4.0, 4.0, 4.0])


def test_inclusion_by_hand():
    assert metrics.inclusion(STARTS, SQUARED, 2).tolist() == [1, 1, 1, 1 / 3, 1 / 3, 1 / 3]
    assert metrics.inclusion(STARTS, SQUARED, 1).tolist() == [1, 0, 1, 0, 0, 0]  # of a search for more
    assert metrics.inclusion(np.array([0]), np.zeros(0), 3).shape == (0,)


def test_expected_share_by_hand():
    values = np.array([1, 0, 1, 1, 0, 0], np.uint8)
    assert metrics.expected_share(STARTS, SQUARED, values, 2) == pytest.approx([1 / 2, (1 + 1 / 3) / 2])
    assert metrics.expected_share(STARTS, SQUARED, values, 1).tolist() == [1, 1]
    columns = np.column_stack([values, 1 - values, 10 * values])
    assert metrics.expected_share(STARTS, SQUARED, columns, 2) == pytest.approx(
        np.array([[1 / 2, 1 / 2, 5], [2 / 3, 1 / 3, 20 / 3]])
    )
    assert metrics.expected_share(np.array([0]), np.zeros(0), np.zeros((0, 4)), 3).shape == (0, 4)


def random_lists(rng, queries, k, classes, distances):
    """Lists with ties: starts, labels of entries, squared distances, sorted in each list."""
    lists = [np.sort(rng.integers(0, distances, rng.integers(k, k + 5))).astype(float) for _ in range(queries)]
    lists = [each[each <= each[k - 1]] for each in lists]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in lists])])
    return starts, rng.integers(0, classes, starts[-1]), np.concatenate(lists)


def tables(starts, labels, squared, classes, k):
    nearer, tied = np.zeros((2, len(starts) - 1, classes), int)
    for i in range(len(starts) - 1):
        part = slice(starts[i], starts[i + 1])
        for label, distance in zip(labels[part], squared[part], strict=True):
            kth = squared[part][k - 1]
            nearer[i, label] += distance < kth
            tied[i, label] += distance == kth
    return nearer, tied


@pytest.mark.parametrize("k", [1, 3, 6])
def test_share_of_a_class_is_precision(k):
    rng = np.random.default_rng(k)
    starts, entry_labels, squared = random_lists(rng, 50, 6, 4, 5)
    labels = rng.integers(0, 4, 50)
    same = entry_labels == np.repeat(labels, np.diff(starts))
    precision = metrics.expected_precision(*tables(starts, entry_labels, squared, 4, k), labels, k)
    np.testing.assert_allclose(metrics.expected_share(starts, squared, same, k), precision, rtol=1e-14)


def test_weighted_vote_by_hand():
    starts, squared, k = np.array([0, 3]), np.array([1.0, 4.0, 4.0]), 2
    entry_labels, weights = np.array([0, 1, 1]), np.array([1.0, 0.9, 0.9])

    def accuracy(label, entry_labels=entry_labels, weights=weights):
        return metrics.weighted_accuracy(starts, entry_labels, squared, weights, np.array([label]), k).tolist()

    assert accuracy(0) == [1] and accuracy(1) == [0]  # 1 against 2 * .9 / 2
    assert accuracy(1, weights=np.array([1, 3, 3])) == [1]
    assert accuracy(0, weights=np.array([1, 1, 1])) == accuracy(1, weights=np.array([1, 1, 1])) == [0.5]
    assert accuracy(7) == [0]  # a class that the list does not have
    inf = np.inf
    assert accuracy(0, weights=np.array([inf, 1e300, 1e300])) == [1]
    assert accuracy(2, np.array([0, 1, 2]), np.array([1, inf, inf])) == [0.5]  # half a vote each, none for class 0
    assert accuracy(1, weights=np.array([inf, inf, inf])) == [0.5]  # 1 against 2 * 1 / 2
    three = metrics.weighted_accuracy(starts, entry_labels, squared, np.full(3, inf), np.array([0]), 3)
    assert three.tolist() == [0]  # one against two
    certain = metrics.weighted_accuracy(starts, entry_labels, squared, np.array([1, inf, inf]), np.array([0]), 1)
    assert certain.tolist() == [1]  # at k = 1 the infinite weights lie outside
    empty = np.zeros(0), np.zeros(0), np.zeros(0, int)
    assert metrics.weighted_accuracy(np.array([0]), np.zeros(0, int), *empty, 3).shape == (0,)


def test_level_votes_stay_level_whatever_the_order_of_sums():
    # In floating point 3 * .1 is not .3.
    weights = np.array([0.1, 0.1, 0.1, 0.15, 0.1, 0.05, 0.3])
    entry_labels, squared = np.array([0, 0, 0, 1, 1, 1, 2]), np.arange(7.0)
    for order in itertools.islice(itertools.permutations(range(7)), 0, None, 97):
        arguments = np.array([0, 7]), entry_labels[list(order)], squared, weights[list(order)]
        for label in range(3):
            assert metrics.weighted_accuracy(*arguments, np.array([label]), 7).tolist() == [1 / 3]


def test_order_of_tied_rows_does_not_matter_to_the_weighted_vote():
    rng = np.random.default_rng(3)
    starts, entry_labels, squared = random_lists(rng, 80, 6, 3, 4)
    labels = rng.integers(0, 3, 80)
    order = np.lexsort((rng.random(len(squared)), squared, np.repeat(np.arange(80), np.diff(starts))))
    for weights in (np.exp(-squared / 0.7), 1 / (squared + 0.1)):
        one = metrics.weighted_accuracy(starts, entry_labels, squared, weights, labels, 6)
        other = metrics.weighted_accuracy(starts, entry_labels[order], squared, weights, labels, 6)
        assert one.tolist() == other.tolist()


def test_equal_weights_are_a_plain_vote_where_no_draw_is_left():
    rng = np.random.default_rng(4)
    entry_labels, labels = rng.integers(0, 3, 300), rng.integers(0, 3, 50)
    starts, squared = np.arange(0, 301, 6), np.tile(np.arange(6.0), 50)
    for k in (1, 2, 5, 6):
        plain = metrics.expected_accuracy(*tables(starts, entry_labels, squared, 3, k), labels, k)
        weighted = metrics.weighted_accuracy(starts, entry_labels, squared, np.full(300, 0.3), labels, k)
        np.testing.assert_allclose(weighted, plain, rtol=1e-14)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_weighted_vote_agrees_with_scikit_learn(k):
    rng = np.random.default_rng(k)
    gallery, labels = rng.normal(size=(60, 3)), rng.integers(0, 4, 60)
    queries, own = np.concatenate([rng.normal(size=(40, 3)), gallery[:20]]), rng.integers(0, 4, 60)  # the last at 0
    predicted = KNeighborsClassifier(k, weights="distance").fit(gallery, labels).predict(queries)
    squared = np.square(queries[:, None] - gallery).sum(axis=2)
    order = np.argsort(squared, axis=1)[:, :k]
    with np.errstate(divide="ignore"):
        weights = 1 / np.sqrt(np.take_along_axis(squared, order, axis=1).ravel())
    found = np.arange(0, 60 * k + 1, k), labels[order].ravel(), np.take_along_axis(squared, order, axis=1).ravel()
    assert metrics.weighted_accuracy(*found, weights, own, k).tolist() == (predicted == own).astype(float).tolist()


def ranked(squared, relevant, device="cpu"):
    tensors = torch.tensor(np.array(squared, float)), torch.tensor(np.array(relevant, bool))
    return metrics.ranked(*(tensor.to(device) for tensor in tensors))


def scores_of_order(hits):
    """R-precision, MAP@R and reciprocal rank of one order, from their definitions, in exact fractions."""
    total = sum(hits)
    precision = [Fraction(sum(hits[: i + 1]), i + 1) for i in range(len(hits))]
    at_r = sum((p for p, hit in zip(precision[:total], hits, strict=False) if hit), Fraction(0)) / total
    return precision[total - 1], at_r, Fraction(1, hits.index(1) + 1)


def enumerate_orders(squared, relevant):
    """The scores averaged over every order of the rows at equal distance."""
    groups = [[int(r) for d, r in zip(squared, relevant, strict=True) if d == each] for each in sorted({*squared})]
    sums, orders = [Fraction(0)] * 3, 0
    for order in itertools.product(*(itertools.permutations(group) for group in groups)):
        sums = [one + other for one, other in zip(sums, scores_of_order(list(itertools.chain(*order))), strict=True)]
        orders += 1
    return [float(each / orders) for each in sums]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6).filter(
        lambda rows: any(r for _, r in rows)
    )
)
def test_rankings_count_ties_with_their_expected_value(rows):
    squared, relevant = zip(*rows, strict=True)
    found = ranked([[float(each) for each in squared]], [relevant])
    assert [found[name][0] for name in ("r_precision", "map_at_r", "mrr")] == pytest.approx(
        enumerate_orders(squared, relevant), abs=1e-13
    )


def test_rankings_by_hand():
    squared = [[1.0, 2.0, 3.0, 4.0, 5.0]] * 4
    relevant = [[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]
    found = ranked(squared, relevant)
    # Relevant at ranks 1, 3, 4 (R = 3): precision 2/3 at rank 3; 1 at the first and 2/3 at the third place.
    np.testing.assert_allclose(found["r_precision"], [2 / 3, 0, 1, np.nan])
    np.testing.assert_allclose(found["map_at_r"], [(1 + 2 / 3) / 3, 0, 1, np.nan])
    np.testing.assert_allclose(found["mrr"], [1, 1 / 5, 1, np.nan])
    # Two rows tied before everything, one of them relevant, R = 1.
    found = ranked([[0.0, 0.0, 7.0]], [[1, 0, 0]])
    assert {name: value.tolist() for name, value in found.items()} == {
        "r_precision": [0.5],
        "map_at_r": [0.5],
        "mrr": [0.75],
    }


def test_excluded_rows_are_out_of_the_ranking():
    inf = np.inf
    with_excluded = ranked([[inf, 1.0, 1.0, 4.0, inf]], [[1, 0, 1, 1, 0]])
    without = ranked([[1.0, 1.0, 4.0]], [[0, 1, 1]])
    assert with_excluded == without
    assert np.isnan(ranked([[inf, 1.0]], [[1, 0]])["map_at_r"])
    assert np.isnan(ranked([[inf, inf]], [[1, 1]])["mrr"])


def test_rankings_in_tiles_and_in_any_order_of_rows(monkeypatch):
    rng = np.random.default_rng(5)
    squared, relevant = rng.integers(0, 9, (30, 40)) * 2.0**-37, rng.random((30, 40)) < rng.random((30, 1))
    whole, order = ranked(squared, relevant), rng.permutation(40)
    monkeypatch.setattr(metrics, "CELLS", 100)
    for found in (ranked(squared, relevant), ranked(squared[:, order], relevant[:, order])):
        for name in whole:
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-14)
    assert {name: found.shape for name, found in ranked(np.zeros((0, 4)), np.zeros((0, 4))).items()} == {
        "r_precision": (0,),
        "map_at_r": (0,),
        "mrr": (0,),
    }


@pytest.mark.parametrize("wrong", [-1.0, 1 + 2.0**-52, float("nan")])
def test_rankings_refuse_distances_that_leave_no_bit_for_relevance(wrong):
    with pytest.raises(ValueError, match="must be >= 0 and exact"):
        ranked([[1.0, wrong]], [[1, 0]])


def distinct_distances(rng, queries, gallery):
    """Integer points in a plane whose squared distances never tie for a query, and these distances."""
    reference = rng.integers(0, 30_000, (gallery, 2))
    query = rng.integers(0, 30_000, (queries, 2))
    squared = np.square(query[:, None] - reference).sum(axis=2)
    assert all(len(np.unique(row)) == gallery for row in squared)
    return query, reference, squared.astype(float)


def test_rankings_agree_with_pytorch_metric_learning():
    rng = np.random.default_rng(6)
    query, reference, squared = distinct_distances(rng, 25, 80)
    reference_labels = np.concatenate([np.repeat(np.arange(5), [40, 20, 15, 4, 1])])
    query_labels = rng.integers(0, 5, 25)
    found = ranked(squared, query_labels[:, None] == reference_labels)
    names = {"r_precision": "r_precision", "map_at_r": "mean_average_precision_at_r", "mrr": "mean_reciprocal_rank"}
    calculator = AccuracyCalculator(
        include=tuple(names.values()),
        k=80,
        device=torch.device("cpu"),
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    )
    for i in range(25):
        theirs = calculator.get_accuracy(
            torch.tensor(query[i : i + 1]).double(),
            torch.tensor(query_labels[i : i + 1]),
            torch.tensor(reference).double(),
            torch.tensor(reference_labels),
        )
        for name, their_name in names.items():
            assert found[name][i] == pytest.approx(theirs[their_name], abs=1e-6)  # their means are float32


def test_reciprocal_rank_agrees_with_torchmetrics():
    rng = np.random.default_rng(7)
    _, _, squared = distinct_distances(rng, 30, 60)
    relevant = rng.random((30, 60)) < 0.1
    relevant[:, 0] = True
    theirs = [  # of positive similarities: it ignores others
        retrieval_reciprocal_rank(1 / (1 + torch.tensor(row)), torch.tensor(hits))
        for row, hits in zip(squared, relevant, strict=True)
    ]
    np.testing.assert_allclose(ranked(squared, relevant)["mrr"], theirs, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_rankings_on_a_gpu_are_those_on_the_cpu():
    rng = np.random.default_rng(8)
    squared, relevant = rng.integers(0, 50, (20, 300)), rng.random((20, 300)) < 0.2
    here, there = ranked(squared, relevant), ranked(squared, relevant, "cuda")
    for name in here:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-12)


def all_rows(squared):
    """Lists with the whole gallery for each query: starts, rows, squared."""
    rows = np.argsort(squared, axis=1, kind="stable")
    queries, gallery = squared.shape
    starts = np.arange(0, queries * gallery + 1, gallery)
    return starts, rows.ravel(), np.take_along_axis(squared, rows, axis=1).ravel()


def jaccard(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


@pytest.mark.parametrize("k", [1, 4, 20])
def test_ndcg_agrees_with_scikit_learn(k):
    rng = np.random.default_rng(k)
    own, gallery = rng.integers(0, 2, (15, 6), dtype=np.uint8), rng.integers(0, 2, (20, 6), dtype=np.uint8)
    gallery[3] = 0
    squared = rng.integers(0, 6, (15, 20)).astype(float)  # with ties
    gains = np.array([[jaccard(a, b) for b in gallery] for a in own])
    ndcg, chance = metrics.ndcg_jaccard(*all_rows(squared), own, gallery, k)
    theirs = [ndcg_score([gain], [-distance], k=k) for gain, distance in zip(gains, squared, strict=True)]
    np.testing.assert_allclose(ndcg, theirs, rtol=1e-12)
    of_random = [ndcg_score([gain], [np.zeros(20)], k=k) for gain in gains]
    np.testing.assert_allclose(chance, of_random, rtol=1e-12)


def test_ndcg_by_hand():
    own, gallery = np.array([[1, 1, 0]]), np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])  # gains 1/2, 1, 0
    starts, rows, squared = np.array([0, 2]), np.array([0, 1]), np.array([1.0, 2.0])
    second = 1 / np.log2(3)
    ndcg, chance = metrics.ndcg_jaccard(starts, rows, squared, own, gallery, 2)
    assert ndcg == pytest.approx([(1 / 2 + second) / (1 + second / 2)])
    assert chance == pytest.approx([1 / 2 * (1 + second) / (1 + second / 2)])
    tied, _ = metrics.ndcg_jaccard(starts, rows, np.array([1.0, 1.0]), own, gallery, 1)
    assert tied == pytest.approx([3 / 4])
    for without_gain in (np.zeros((1, 3)), np.array([[0, 0, 0]], np.uint8)):
        assert np.isnan(metrics.ndcg_jaccard(starts, rows, squared, without_gain, gallery, 2)).all()
    nobody = np.array([0]), np.zeros(0, int), np.zeros(0)
    assert metrics.ndcg_jaccard(*nobody, np.zeros((0, 3)), gallery, 2)[0].shape == (0,)


@pytest.mark.parametrize("cells", [1, 50, 10**6])
def test_ndcg_leaves_excluded_rows_out_of_ideal_and_chance(monkeypatch, cells):
    monkeypatch.setattr(metrics, "CELLS", cells)
    rng = np.random.default_rng(9)
    own, gallery = rng.integers(0, 2, (10, 5)), rng.integers(0, 2, (12, 5))
    gallery[:10] = own  # the best of all gains, were it not excluded
    squared = rng.integers(0, 5, (10, 12)).astype(float)
    kept = ~np.eye(10, 12, dtype=bool)
    kept[4, 11] = False
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    rows = [np.nonzero(kept[i])[0][np.argsort(squared[i, kept[i]], kind="stable")] for i in range(10)]
    found = starts, np.concatenate(rows), np.concatenate([squared[i, rows[i]] for i in range(10)])
    ndcg, chance = metrics.ndcg_jaccard(*found, own, gallery, 3, np.argwhere(~kept))
    for i in range(10):
        gains = np.array([jaccard(own[i], each) for each in gallery[kept[i]]])
        if gains.any():
            assert ndcg[i] == pytest.approx(ndcg_score([gains], [-squared[i, kept[i]]], k=3))
            assert chance[i] == pytest.approx(ndcg_score([gains], [np.zeros(kept[i].sum())], k=3))
        else:
            assert np.isnan(ndcg[i])


def random_ranking(metric, gallery, label, k, leave_one_out):
    """The score of a query of a class in an all-tied gallery, by the functions that score real queries."""
    labels = np.repeat(np.arange(len(gallery)), gallery)
    tied = gallery.copy()[None]
    tied[0, label] -= leave_one_out
    if metric in ("precision", "hit", "accuracy"):
        score = getattr(metrics, f"expected_{metric}")
        return score(np.zeros_like(tied), tied, np.array([label]), k)[0]
    squared = np.zeros((1, len(labels)))
    if leave_one_out:
        squared[0, np.argmax(labels == label)] = np.inf
    return ranked(squared, [labels == label])[metric][0]


@pytest.mark.parametrize("metric", ["precision", "hit", "accuracy", "r_precision", "map_at_r", "mrr"])
@pytest.mark.parametrize("gallery", [[7, 3, 1, 4], [5, 5, 5], [1, 1], [12], [60, 1, 8, 8, 9]])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_chance_is_the_score_of_an_all_tied_gallery(metric, gallery, leave_one_out):
    gallery = np.array(gallery)
    for k in {1, 3, gallery.sum() - 1} - {0}:
        if k <= gallery.sum() - leave_one_out:
            expected = [random_ranking(metric, gallery, c, k, leave_one_out) for c in range(len(gallery))]
            found = metrics.chance(metric, gallery, k, leave_one_out)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gallery", [[4, 1, 2], [3, 3], [2, 1, 1, 1]])
def test_chance_of_a_ranking_by_enumeration(gallery):
    for label in range(len(gallery)):
        relevant = np.repeat(np.arange(len(gallery)), gallery) == label
        expected = enumerate_orders([0] * len(relevant), relevant)
        for metric, value in zip(("r_precision", "map_at_r", "mrr"), expected, strict=True):
            assert metrics.chance(metric, np.array(gallery))[label] == pytest.approx(value, rel=1e-12)


def test_chance_by_hand():
    gallery = np.array([3, 2])
    assert metrics.chance("precision", gallery).tolist() == [3 / 5, 2 / 5]
    assert metrics.chance("precision", gallery, leave_one_out=True).tolist() == [2 / 4, 1 / 4]
    # Three of three and two: class 0 has the majority in 1 + 6 of 10 draws, class 1 in 3.
    assert metrics.chance("accuracy", gallery, 3) == pytest.approx([7 / 10, 3 / 10])
    # Two of five: none of class 0 in 1 of 10 draws, none of class 1 in 3.
    assert metrics.chance("hit", gallery, 2) == pytest.approx([9 / 10, 7 / 10])
    # Class 1 is first at place 1, 2, 3, 4 in 4, 3, 2, 1 of 10 orders.
    assert metrics.chance("mrr", gallery)[1] == pytest.approx((4 + 3 / 2 + 2 / 3 + 1 / 4) / 10)
    # Class 1 at places {1, 2}: 1; {1, x}: 1/2; {2, x}: (1/2) / 2; of 10 orders 1, 3 and 3.
    assert metrics.chance("map_at_r", gallery)[1] == pytest.approx((1 + 3 / 2 + 3 / 4) / 10)


def test_chance_where_it_is_not_defined():
    gallery = np.array([4, 1, 0])
    for metric in ("r_precision", "map_at_r", "mrr"):
        assert np.isnan(metrics.chance(metric, gallery)).tolist() == [False, False, True]
        assert np.isnan(metrics.chance(metric, gallery, None, True)).tolist() == [False, True, True]
    for metric in ("precision", "hit", "accuracy"):
        assert metrics.chance(metric, gallery, 1)[1:] == pytest.approx([1 / 5, 0])
        np.testing.assert_allclose(metrics.chance(metric, gallery, 1, True), [3 / 4, 0, np.nan], atol=1e-15)
    with pytest.raises(ValueError, match="no metric 'ndcg'"):
        metrics.chance("ndcg", gallery)


def test_chance_agrees_with_the_approximations_for_large_galleries():
    cifar, p, size = np.full(10, 5_000), 0.1, 5_000
    harmonic = (1 / np.arange(1, size + 1)).sum()
    assert metrics.chance("map_at_r", cifar) == pytest.approx(p**2 + p * (1 - p) * harmonic / size, rel=1e-3)
    assert metrics.chance("mrr", cifar) == pytest.approx(-p * np.log(p) / (1 - p), rel=1e-3)
    assert metrics.chance("hit", cifar, 3) == pytest.approx(1 - 0.9**3, rel=1e-3)


@pytest.mark.parametrize("k", [5, 20, 60])
def test_chance_of_a_vote_among_many_classes_agrees_with_the_count_of_ties(k):
    gallery = np.random.default_rng(k).permutation(np.arange(2, 32))
    own = np.arange(30)
    for leave_one_out in (False, True):
        tied = np.tile(gallery, (30, 1))
        tied[own, own] -= leave_one_out
        counted = metrics.expected_accuracy(np.zeros_like(tied), tied, own, k)
        found = metrics.chance("accuracy", gallery, k, leave_one_out)
        np.testing.assert_allclose(found, counted, rtol=1e-9, atol=1e-14)


def test_chance_of_large_galleries_grows_with_the_class_and_sums_to_one():
    gallery = np.concatenate([np.arange(200, 399), [14_000]])
    wins = metrics.chance("accuracy", gallery, 100)
    assert wins.sum() == pytest.approx(1)
    assert (np.diff(wins) > -1e-12).all()
    for metric in ("map_at_r", "mrr", "hit"):
        assert (np.diff(metrics.chance(metric, gallery, 10)) > 0).all()


def test_chance_of_the_seed_paper_on_svhn():
    train, test = (
        metrics.over_classes(metrics.chance("precision", counts), counts, "micro") for counts in (SVHN_TRAIN, SVHN_TEST)
    )
    assert (train, test) == pytest.approx((0.1146, 0.1179), abs=5e-5)
    leave_one_out = metrics.over_classes(
        metrics.chance("precision", SVHN_TRAIN, leave_one_out=True), SVHN_TRAIN, "micro"
    )
    assert metrics.self_counted(leave_one_out, 3) == pytest.approx(0.410, abs=5e-4)
    assert metrics.majority(SVHN_TRAIN, SVHN_TRAIN) == pytest.approx(0.1892, abs=5e-5)
    assert metrics.majority(SVHN_TRAIN, SVHN_TEST) == pytest.approx(0.1959, abs=5e-5)


@pytest.mark.parametrize("k", [1, 3, 4])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_chance_is_what_a_random_ranking_scores(k, leave_one_out):
    rng = np.random.default_rng(k)
    labels = np.repeat([0, 1, 2], [12, 6, 2])
    hits, wins, rounds = 0.0, 0.0, 20_000
    for query in rng.integers(len(labels), size=rounds):
        gallery = np.delete(labels, query) if leave_one_out else labels
        votes = np.bincount(rng.choice(gallery, k, replace=False), minlength=3)
        hits += votes[labels[query]] / k
        wins += (votes[labels[query]] == votes.max()) / (votes == votes.max()).sum()
    counts = np.bincount(labels)
    for metric, simulated in {"precision": hits, "accuracy": wins}.items():
        chance = metrics.over_classes(metrics.chance(metric, counts, k, leave_one_out), counts, "micro")
        assert chance == pytest.approx(simulated / rounds, abs=0.015)


def test_chance_accuracy_between_its_limits():
    gallery = np.array([50, 30, 20])
    assert metrics.chance("accuracy", gallery, 1) == pytest.approx(metrics.chance("precision", gallery))
    assert metrics.chance("accuracy", gallery, 100) == pytest.approx([1, 0, 0])
    for k in (1, 3, 10):
        assert metrics.chance("accuracy", np.full(10, 7), k) == pytest.approx(0.1)


def test_over_classes_by_hand():
    per_class, queries = np.array([0.5, 0.1, np.nan, 0.9]), np.array([1, 3, 5, 0])
    assert metrics.over_classes(per_class, queries, "micro") == pytest.approx((0.5 + 3 * 0.1) / 4)
    assert metrics.over_classes(per_class, queries, "macro") == pytest.approx(0.3)
    assert np.isnan(metrics.over_classes(per_class, np.array([0, 0, 5, 0]), "macro"))
    balanced = np.array([40, 7, 3])
    macro = metrics.over_classes(metrics.chance("precision", balanced), np.array([1, 2, 3]), "macro")
    assert macro == pytest.approx(1 / 3)  # macro precision has chance 1/C however unequal the classes


def test_majority_by_hand():
    assert metrics.majority(np.array([5, 9, 1]), np.array([4, 1, 5])) == pytest.approx(0.1)
    assert metrics.majority(np.array([9, 9, 1]), np.array([4, 1, 5])) == pytest.approx(0.25)  # either, at random


def test_self_counted_and_lift():
    assert metrics.self_counted(0.148, 3) == pytest.approx(0.432, abs=5e-4)  # the seed paper's 43.2 %
    assert metrics.self_counted(0.0, 1) == 1.0
    assert metrics.lift(0.55, 0.1) == pytest.approx(0.5)
    assert metrics.lift(0.1, 0.1) == 0.0
    assert np.isnan(metrics.lift(1.0, 1.0))
