import numpy as np
import pytest
from ranking_fixture import enumerate_orders, ranked

from visrec.scoring import chance, votes

# Published class counts of SVHN, digits 0 to 9.
SVHN_TRAIN = np.array([4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659])
SVHN_TEST = np.array([1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595])


def random_ranking(metric, gallery, label, k, leave_one_out):
    """The score of a query of a class in an all-tied gallery, by the functions that score real queries."""
    labels = np.repeat(np.arange(len(gallery)), gallery)
    tied = gallery.copy()[None]
    tied[0, label] -= leave_one_out
    if metric in ("precision", "hit", "accuracy"):
        score = getattr(votes, f"expected_{metric}")
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
            found = getattr(chance, metric)(gallery, k, leave_one_out)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gallery", [[4, 1, 2], [3, 3], [2, 1, 1, 1]])
def test_chance_of_a_ranking_by_enumeration(gallery):
    for label in range(len(gallery)):
        relevant = np.repeat(np.arange(len(gallery)), gallery) == label
        expected = enumerate_orders([0] * len(relevant), relevant)
        for metric, value in zip(("r_precision", "map_at_r", "mrr"), expected, strict=True):
            assert getattr(chance, metric)(np.array(gallery))[label] == pytest.approx(value, rel=1e-12)


def test_chance_by_hand():
    gallery = np.array([3, 2])
    assert chance.precision(gallery).tolist() == [3 / 5, 2 / 5]
    assert chance.precision(gallery, leave_one_out=True).tolist() == [2 / 4, 1 / 4]
    # Three of three and two: class 0 has the majority in 1 + 6 of 10 draws, class 1 in 3.
    assert chance.accuracy(gallery, 3) == pytest.approx([7 / 10, 3 / 10])
    # Two of five: none of class 0 in 1 of 10 draws, none of class 1 in 3.
    assert chance.hit(gallery, 2) == pytest.approx([9 / 10, 7 / 10])
    # Class 1 is first at place 1, 2, 3, 4 in 4, 3, 2, 1 of 10 orders.
    assert chance.mrr(gallery)[1] == pytest.approx((4 + 3 / 2 + 2 / 3 + 1 / 4) / 10)
    # Class 1 at places {1, 2}: 1; {1, x}: 1/2; {2, x}: (1/2) / 2; of 10 orders 1, 3 and 3.
    assert chance.map_at_r(gallery)[1] == pytest.approx((1 + 3 / 2 + 3 / 4) / 10)


def test_chance_where_it_is_not_defined():
    gallery = np.array([4, 1, 0])
    for metric in ("r_precision", "map_at_r", "mrr"):
        assert np.isnan(getattr(chance, metric)(gallery)).tolist() == [False, False, True]
        assert np.isnan(getattr(chance, metric)(gallery, None, True)).tolist() == [False, True, True]
    for metric in ("precision", "hit", "accuracy"):
        assert getattr(chance, metric)(gallery, 1)[1:] == pytest.approx([1 / 5, 0])
        np.testing.assert_allclose(getattr(chance, metric)(gallery, 1, True), [3 / 4, 0, np.nan], atol=1e-15)


def test_chance_agrees_with_the_approximations_for_large_galleries():
    cifar, p, size = np.full(10, 5_000), 0.1, 5_000
    harmonic = (1 / np.arange(1, size + 1)).sum()
    assert chance.map_at_r(cifar) == pytest.approx(p**2 + p * (1 - p) * harmonic / size, rel=1e-3)
    assert chance.mrr(cifar) == pytest.approx(-p * np.log(p) / (1 - p), rel=1e-3)
    assert chance.hit(cifar, 3) == pytest.approx(1 - 0.9**3, rel=1e-3)


@pytest.mark.parametrize("k", [5, 20, 60])
def test_chance_of_a_vote_among_many_classes_agrees_with_the_count_of_ties(k):
    gallery = np.random.default_rng(k).permutation(np.arange(2, 32))
    own = np.arange(30)
    for leave_one_out in (False, True):
        tied = np.tile(gallery, (30, 1))
        tied[own, own] -= leave_one_out
        counted = votes.expected_accuracy(np.zeros_like(tied), tied, own, k)
        found = chance.accuracy(gallery, k, leave_one_out)
        np.testing.assert_allclose(found, counted, rtol=1e-9, atol=1e-14)


def test_chance_of_large_galleries_grows_with_the_class_and_sums_to_one():
    gallery = np.concatenate([np.arange(200, 399), [14_000]])
    wins = chance.accuracy(gallery, 100)
    assert wins.sum() == pytest.approx(1)
    assert (np.diff(wins) > -1e-12).all()
    for metric in ("map_at_r", "mrr", "hit"):
        assert (np.diff(getattr(chance, metric)(gallery, 10)) > 0).all()


def test_chance_of_the_seed_paper_on_svhn():
    train, test = (chance.over_classes(chance.precision(counts), counts, "micro") for counts in (SVHN_TRAIN, SVHN_TEST))
    assert (train, test) == pytest.approx((0.1146, 0.1179), abs=5e-5)
    leave_one_out = chance.over_classes(chance.precision(SVHN_TRAIN, leave_one_out=True), SVHN_TRAIN, "micro")
    assert chance.self_counted(leave_one_out, 3) == pytest.approx(0.410, abs=5e-4)
    assert chance.majority(SVHN_TRAIN, SVHN_TRAIN) == pytest.approx(0.1892, abs=5e-5)
    assert chance.majority(SVHN_TRAIN, SVHN_TEST) == pytest.approx(0.1959, abs=5e-5)


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
        found = chance.over_classes(getattr(chance, metric)(counts, k, leave_one_out), counts, "micro")
        assert found == pytest.approx(simulated / rounds, abs=0.015)


def test_chance_accuracy_between_its_limits():
    gallery = np.array([50, 30, 20])
    assert chance.accuracy(gallery, 1) == pytest.approx(chance.precision(gallery))
    assert chance.accuracy(gallery, 100) == pytest.approx([1, 0, 0])
    for k in (1, 3, 10):
        assert chance.accuracy(np.full(10, 7), k) == pytest.approx(0.1)


def test_over_classes_by_hand():
    per_class, queries = np.array([0.5, 0.1, np.nan, 0.9]), np.array([1, 3, 5, 0])
    assert chance.over_classes(per_class, queries, "micro") == pytest.approx((0.5 + 3 * 0.1) / 4)
    assert chance.over_classes(per_class, queries, "macro") == pytest.approx(0.3)
    assert np.isnan(chance.over_classes(per_class, np.array([0, 0, 5, 0]), "macro"))
    balanced = np.array([40, 7, 3])
    macro = chance.over_classes(chance.precision(balanced), np.array([1, 2, 3]), "macro")
    assert macro == pytest.approx(1 / 3)  # macro precision has chance 1/C however unequal the classes


def test_majority_by_hand():
    assert chance.majority(np.array([5, 9, 1]), np.array([4, 1, 5])) == pytest.approx(0.1)
    assert chance.majority(np.array([9, 9, 1]), np.array([4, 1, 5])) == pytest.approx(0.25)  # either, at random
    trains, scored = ([9, 1, 1], [1, 9, 1], [9, 9, 1]), np.array([4, 0, 5])
    macro = [chance.majority(np.array(train), scored, "macro") for train in trains]
    assert macro == [0.5, 0, 0.25]  # right for one of two classes; of a class that is not asked for; either, at random


def test_self_counted_and_lift():
    assert chance.self_counted(0.148, 3) == pytest.approx(0.432, abs=5e-4)  # the seed paper's 43.2 %
    assert chance.self_counted(0.0, 1) == 1.0
    assert chance.lift(0.55, 0.1) == pytest.approx(0.5)
    assert chance.lift(0.1, 0.1) == 0.0
    assert np.isnan(chance.lift(1.0, 1.0))
