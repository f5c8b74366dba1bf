import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from sklearn.neighbors import KNeighborsClassifier

from visrec.scoring import ties, votes


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
    assert votes.expected_precision(*arguments) == pytest.approx([precision], abs=1e-12)
    assert votes.expected_accuracy(*arguments) == pytest.approx([accuracy], abs=1e-12)
    assert votes.expected_hit(*arguments) == pytest.approx([hit], abs=1e-12)


def test_ties_by_hand():
    # One certain neighbour of class 0, one of two tied images (classes 0 and 1) to draw, k = 2.
    nearer, tied = np.array([[1, 0], [1, 0]]), np.array([[1, 1], [1, 1]])
    labels = np.array([0, 1])
    assert votes.expected_precision(nearer, tied, labels, 2).tolist() == [0.75, 0.25]
    # Drawing class 0 decides for it; drawing class 1 leaves the vote level.
    assert votes.expected_accuracy(nearer, tied, labels, 2) == pytest.approx([0.75, 0.25])
    assert votes.expected_hit(nearer, tied, labels, 2).tolist() == [1, 0.5]


def test_scores_of_many_queries_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    nearer, tied = rng.integers(0, 2, (40, 5)), rng.integers(1, 3, (40, 5))
    nearer[:, 0] += 5 - nearer.sum(axis=1)  # so that k = 8 draws three of the tied in every row
    labels = rng.integers(0, 5, 40)
    for score in (votes.expected_precision, votes.expected_accuracy, votes.expected_hit):
        alone = [score(nearer[i : i + 1], tied[i : i + 1], labels[i : i + 1], 8)[0] for i in range(40)]
        np.testing.assert_allclose(score(nearer, tied, labels, 8), alone, rtol=1e-12)


def test_vote_without_ties_in_distance_is_plain():
    nearer, tied = np.array([[2, 1, 0], [1, 1, 0], [0, 0, 2]]), np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    found = votes.expected_accuracy(nearer[[0, 1]], tied[[0, 1]], np.array([1, 2]), 4 - 1)
    assert found[1] == pytest.approx(1 / 3)  # one vote each
    assert votes.expected_accuracy(nearer[:1], tied[:1], np.array([1]), 4) == pytest.approx(0.5)  # two against two
    assert votes.expected_accuracy(nearer[2:], tied[2:], np.array([0]), 3) == pytest.approx(0.0)


def test_huge_tie_groups_stay_finite():
    nearer, tied = np.zeros((1, 3), int), np.array([[60_000, 30_000, 10_000]])
    for k in (10, 120):
        parts = [votes.expected_accuracy(nearer, tied, np.array([c]), k)[0] for c in range(3)]
        assert sum(parts) == pytest.approx(1)
        assert parts[0] > parts[1] > parts[2] >= 0


def test_hit_agrees_with_the_hypergeometric_distribution_and_keeps_small_values():
    tied = np.array([[3, 69_997], [1, 10**9], [0, 50], [50, 0], [45, 5]])
    hit = votes.expected_hit(np.zeros_like(tied), tied, np.zeros(5, int), 10)
    np.testing.assert_allclose(hit, hypergeom.sf(0, tied.sum(axis=1), tied[:, 0], 10), rtol=1e-6)
    assert hit[1] == pytest.approx(10 / (10**9 + 1), rel=1e-12)
    assert hit[2:].tolist() == [0, 1, 1]  # none; all; fewer others than draws
    # Queries that draw three and one of four, one of which has their class.
    nearer, tied = np.array([[0, 0], [0, 2]]), np.array([[1, 3], [1, 3]])
    assert votes.expected_hit(nearer, tied, np.zeros(2, int), 3) == pytest.approx([3 / 4, 1 / 4])
    assert votes.expected_hit(*np.zeros((2, 0, 3), int), np.zeros(0, int), 3).shape == (0,)


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
    precision = votes.expected_precision(*tables(starts, entry_labels, squared, 4, k), labels, k)
    np.testing.assert_allclose(ties.expected_share(starts, squared, same, k), precision, rtol=1e-14)


def test_weighted_vote_by_hand():
    starts, squared, k = np.array([0, 3]), np.array([1.0, 4.0, 4.0]), 2
    entry_labels, weights = np.array([0, 1, 1]), np.array([1.0, 0.9, 0.9])

    def accuracy(label, entry_labels=entry_labels, weights=weights):
        return votes.weighted_accuracy(starts, entry_labels, squared, weights, np.array([label]), k).tolist()

    assert accuracy(0) == [1] and accuracy(1) == [0]  # 1 against 2 * .9 / 2
    assert accuracy(1, weights=np.array([1, 3, 3])) == [1]
    assert accuracy(0, weights=np.array([1, 1, 1])) == accuracy(1, weights=np.array([1, 1, 1])) == [0.5]
    assert accuracy(7) == [0]  # a class that the list does not have
    inf = np.inf
    assert accuracy(0, weights=np.array([inf, 1e300, 1e300])) == [1]
    assert accuracy(2, np.array([0, 1, 2]), np.array([1, inf, inf])) == [0.5]  # half a vote each, none for class 0
    assert accuracy(1, weights=np.array([inf, inf, inf])) == [0.5]  # 1 against 2 * 1 / 2
    three = votes.weighted_accuracy(starts, entry_labels, squared, np.full(3, inf), np.array([0]), 3)
    assert three.tolist() == [0]  # one against two
    certain = votes.weighted_accuracy(starts, entry_labels, squared, np.array([1, inf, inf]), np.array([0]), 1)
    assert certain.tolist() == [1]  # at k = 1 the infinite weights lie outside
    empty = np.zeros(0), np.zeros(0), np.zeros(0, int)
    assert votes.weighted_accuracy(np.array([0]), np.zeros(0, int), *empty, 3).shape == (0,)


def test_level_votes_stay_level_whatever_the_order_of_sums():
    # In floating point 3 * .1 is not .3.
    weights = np.array([0.1, 0.1, 0.1, 0.15, 0.1, 0.05, 0.3])
    entry_labels, squared = np.array([0, 0, 0, 1, 1, 1, 2]), np.arange(7.0)
    for order in itertools.islice(itertools.permutations(range(7)), 0, None, 97):
        arguments = np.array([0, 7]), entry_labels[list(order)], squared, weights[list(order)]
        for label in range(3):
            assert votes.weighted_accuracy(*arguments, np.array([label]), 7).tolist() == [1 / 3]


def test_order_of_tied_rows_does_not_matter_to_the_weighted_vote():
    rng = np.random.default_rng(3)
    starts, entry_labels, squared = random_lists(rng, 80, 6, 3, 4)
    labels = rng.integers(0, 3, 80)
    order = np.lexsort((rng.random(len(squared)), squared, np.repeat(np.arange(80), np.diff(starts))))
    for weights in (np.exp(-squared / 0.7), 1 / (squared + 0.1)):
        one = votes.weighted_accuracy(starts, entry_labels, squared, weights, labels, 6)
        other = votes.weighted_accuracy(starts, entry_labels[order], squared, weights, labels, 6)
        assert one.tolist() == other.tolist()


def test_equal_weights_are_a_plain_vote_where_no_draw_is_left():
    rng = np.random.default_rng(4)
    entry_labels, labels = rng.integers(0, 3, 300), rng.integers(0, 3, 50)
    starts, squared = np.arange(0, 301, 6), np.tile(np.arange(6.0), 50)
    for k in (1, 2, 5, 6):
        plain = votes.expected_accuracy(*tables(starts, entry_labels, squared, 3, k), labels, k)
        weighted = votes.weighted_accuracy(starts, entry_labels, squared, np.full(300, 0.3), labels, k)
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
    assert votes.weighted_accuracy(*found, weights, own, k).tolist() == (predicted == own).astype(float).tolist()
