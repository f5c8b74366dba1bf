import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visrec import metrics

# Published class counts of SVHN, digits 0 to 9.
SVHN_TRAIN = np.array([4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659])
SVHN_TEST = np.array([1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595])


def enumerate_ties(nearer, tied, label, k):
    """Precision and accuracy averaged over every choice among the tied images, in exact fractions."""
    certain = [c for c, count in enumerate(nearer) for _ in range(count)]
    group = [c for c, count in enumerate(tied) for _ in range(count)]
    precision, accuracy, choices = Fraction(0), Fraction(0), 0
    for chosen in itertools.combinations(group, k - len(certain)):
        neighbours = certain + list(chosen)
        votes = [neighbours.count(c) for c in range(len(nearer))]
        winners = [c for c, count in enumerate(votes) if count == max(votes)]
        precision += Fraction(votes[label], k)
        accuracy += Fraction(label in winners, len(winners))
        choices += 1
    return float(precision / choices), float(accuracy / choices)


@st.composite
def situations(draw):
    classes = draw(st.integers(1, 4))
    nearer = draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes))
    tied = draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes).filter(any))
    k = sum(nearer) + draw(st.integers(1, sum(tied)))
    return nearer, tied, draw(st.integers(0, classes - 1)), k


@given(situations())
def test_ties_count_with_their_expected_value(situation):
    nearer, tied, label, k = situation
    precision, accuracy = enumerate_ties(nearer, tied, label, k)
    arguments = np.array([nearer]), np.array([tied]), np.array([label]), k
    assert metrics.expected_precision(*arguments) == pytest.approx([precision], abs=1e-12)
    assert metrics.expected_accuracy(*arguments) == pytest.approx([accuracy], abs=1e-12)


def test_ties_by_hand():
    # One certain neighbour of class 0, one of two tied images (classes 0 and 1) to draw, k = 2.
    nearer, tied = np.array([[1, 0], [1, 0]]), np.array([[1, 1], [1, 1]])
    labels = np.array([0, 1])
    assert metrics.expected_precision(nearer, tied, labels, 2).tolist() == [0.75, 0.25]
    # Drawing class 0 decides for it; drawing class 1 leaves the vote level.
    assert metrics.expected_accuracy(nearer, tied, labels, 2) == pytest.approx([0.75, 0.25])


def test_scores_of_many_queries_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    nearer, tied = rng.integers(0, 2, (40, 5)), rng.integers(1, 3, (40, 5))
    nearer[:, 0] += 5 - nearer.sum(axis=1)  # so that k = 8 draws three of the tied in every row
    labels = rng.integers(0, 5, 40)
    for score in (metrics.expected_precision, metrics.expected_accuracy):
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


def test_chance_by_hand():
    queries, gallery = np.array([1, 3]), np.array([3, 2])
    assert metrics.chance_precision(queries, gallery) == pytest.approx(1 / 4 * 3 / 5 + 3 / 4 * 2 / 5)
    assert metrics.chance_precision(gallery, gallery, leave_one_out=True) == pytest.approx(
        3 / 5 * 2 / 4 + 2 / 5 * 1 / 4
    )
    # Three of three and two: class 0 has the majority in 1 + 6 of 10 draws, class 1 in 3.
    assert metrics.chance_accuracy(queries, gallery, 3) == pytest.approx(1 / 4 * 7 / 10 + 3 / 4 * 3 / 10)


def test_chance_of_the_seed_paper_on_svhn():
    assert metrics.chance_precision(SVHN_TRAIN, SVHN_TRAIN) == pytest.approx(0.1146, abs=5e-5)
    assert metrics.chance_precision(SVHN_TEST, SVHN_TEST) == pytest.approx(0.1179, abs=5e-5)
    leave_one_out = metrics.chance_precision(SVHN_TRAIN, SVHN_TRAIN, leave_one_out=True)
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
    assert metrics.chance_precision(counts, counts, leave_one_out) == pytest.approx(hits / rounds, abs=0.015)
    assert metrics.chance_accuracy(counts, counts, k, leave_one_out) == pytest.approx(wins / rounds, abs=0.015)


def test_chance_accuracy_between_its_limits():
    queries, gallery = np.array([5, 3, 2]), np.array([50, 30, 20])
    assert metrics.chance_accuracy(queries, gallery, 1) == pytest.approx(metrics.chance_precision(queries, gallery))
    assert metrics.chance_accuracy(queries, gallery, 100) == pytest.approx(metrics.majority(gallery, queries))
    balanced = np.full(10, 7)
    for k in (1, 3, 10):
        assert metrics.chance_accuracy(balanced, balanced, k) == pytest.approx(0.1)


def test_chance_ignores_classes_without_queries():
    assert metrics.chance_accuracy(np.array([4, 0]), np.array([3, 1]), 1) == pytest.approx(0.75)
    counts = np.array([4, 2, 0])
    assert metrics.chance_precision(counts, counts, True) == pytest.approx(4 / 6 * 3 / 5 + 2 / 6 * 1 / 5)
    assert metrics.chance_accuracy(counts, counts, 1, True) == pytest.approx(4 / 6 * 3 / 5 + 2 / 6 * 1 / 5)


def test_majority_by_hand():
    assert metrics.majority(np.array([5, 9, 1]), np.array([4, 1, 5])) == pytest.approx(0.1)
    assert metrics.majority(np.array([9, 9, 1]), np.array([4, 1, 5])) == pytest.approx(0.25)  # either, at random


def test_self_counted_and_lift():
    assert metrics.self_counted(0.148, 3) == pytest.approx(0.432, abs=5e-4)  # the seed paper's 43.2 %
    assert metrics.self_counted(0.0, 1) == 1.0
    assert metrics.lift(0.55, 0.1) == pytest.approx(0.5)
    assert metrics.lift(0.1, 0.1) == 0.0
    assert np.isnan(metrics.lift(1.0, 1.0))
