import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals_fixture import difference, over_seeds
from scipy import stats

from visrec.scoring import intervals
from visrec.scoring.intervals import (
    RESAMPLES,
    contrast,
    interval,
    over_groups,
    relation,
    resample,
)

NAN = np.nan


def means(scores, labels=None):
    """Value of each row, micro or macro, by loops."""
    found = []
    for row in np.atleast_2d(np.asarray(scores, float)):
        groups = [row] if labels is None else [row[np.asarray(labels) == each] for each in np.unique(labels)]
        groups = [group[~np.isnan(group)].mean() for group in groups if (~np.isnan(group)).any()]
        found.append(np.mean(groups) if groups else NAN)
    return np.array(found)


def exact(scores, labels=None):
    """Mean in every possible draw of the queries, (Q^Q,): the distribution that the bootstrap samples."""
    scores = np.asarray(scores, float)
    draws = [list(draw) for draw in itertools.product(range(len(scores)), repeat=len(scores))]
    return np.array([means(scores[d], None if labels is None else np.asarray(labels)[d])[0] for d in draws])


def shares(values):
    """Distinct values and how often each occurs, NaN left out."""
    values, counts = np.unique(np.round(values[~np.isnan(values)], 9), return_counts=True)
    return values, counts / counts.sum()


# --- over queries


@pytest.mark.parametrize(("n", "p"), [(400, 0.5), (2000, 0.16)])
def test_width_is_that_of_the_binomial(n, p):
    scores = np.zeros((1, n))
    scores[0, : round(n * p)] = 1
    low, high = interval(scores, seed=0)
    half = 1.96 * np.sqrt(p * (1 - p) / n)
    assert low.item() == pytest.approx(p - half, abs=0.08 * half)
    assert high.item() == pytest.approx(p + half, abs=0.08 * half)


def test_interval_is_that_of_scipy():
    scores = np.random.default_rng(0).gamma(0.5, size=(3, 80))  # skewed: the two sides differ
    low, high = interval(scores, seed=0)
    theirs = stats.bootstrap((scores,), np.mean, axis=1, n_resamples=20_000, method="percentile", rng=1)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert np.abs(low - theirs.confidence_interval.low).max() < 0.07 * width.min()
    assert np.abs(high - theirs.confidence_interval.high).max() < 0.07 * width.min()


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([0.0, 1.0], None),  # means 0, 1/2 and 1, in 1, 2 and 1 of 4 draws
        ([0.2, 0.9, NAN], None),
        ([0.2, 0.5, 1.0], None),
        ([0.2, 0.5, 1.0], [0, 0, 1]),
        ([0.2, 0.5, 1.0], [4, 2, 4]),
        ([0.2, NAN, 1.0], [0, 0, 1]),
        ([NAN, 0.5, 1.0], [0, 1, 1]),  # a class without scores does not count
    ],
)
def test_resamples_have_the_distribution_of_all_draws(scores, labels):
    draws = resample(np.array([scores]), 0, None if labels is None else np.array(labels))[:, 0]
    assert draws[0] == pytest.approx(means(scores, labels)[0])
    values, share = shares(exact(scores, labels))
    found, often = shares(draws[1:])
    np.testing.assert_allclose(found, values, atol=1e-9)
    np.testing.assert_allclose(often, share, atol=0.04)  # 4 standard errors of a share of 2,000


def test_macro_by_hand():
    # Class 0: 1/2; class 1: 1. Micro 2/3, macro 3/4.
    scores, labels = np.array([[0.0, 1.0, 1.0]]), np.array([0, 0, 1])
    assert resample(scores, 0)[0, 0] == pytest.approx(2 / 3)
    assert resample(scores, 0, labels)[0, 0] == 0.75
    # One class, or each query its own class: macro is micro.
    some = np.random.default_rng(0).random((2, 9))
    for labels in (np.full(9, 7), np.arange(9)):
        np.testing.assert_allclose(resample(some, 3, labels)[0], resample(some, 3)[0])
    np.testing.assert_allclose(resample(some, 3, np.full(9, 7)), resample(some, 3))


def test_macro_means_are_of_the_same_draws_as_micro_means():
    random = np.random.default_rng(0)
    scores, labels = random.random((2, 40)), random.integers(0, 4, 40)
    member = (labels == np.arange(4)[:, None]).astype(float)
    shares = resample(member, 2)
    parts = [resample(member * row, 2) / shares for row in scores]  # (draws, classes): the mean within each class
    np.testing.assert_allclose(resample(scores, 2, labels), np.stack([np.mean(p, axis=1) for p in parts], axis=1))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_first_row_is_the_mean_of_the_sample(data):
    rows, queries = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 7))
    cells = st.one_of(st.just(NAN), st.floats(0, 1))
    scores = np.array(data.draw(st.lists(cells, min_size=rows * queries, max_size=rows * queries)))
    scores = scores.reshape(rows, queries)
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=queries, max_size=queries)))
    for groups in (None, labels):
        np.testing.assert_allclose(resample(scores, 0, groups)[0], means(scores, groups), atol=1e-12)


def test_rows_share_their_draws_and_blocks_do_not_matter(monkeypatch):
    random = np.random.default_rng(0)
    scores, labels = random.random((4, 251)), random.integers(0, 5, 251)
    scores[1, ::3] = NAN
    micro, macro = resample(scores, 1), resample(scores, 1, labels)
    monkeypatch.setattr(intervals, "BLOCK", 4000)
    for row in range(4):
        np.testing.assert_allclose(resample(scores[row : row + 1], 1)[:, 0], micro[:, row], rtol=1e-12)
        np.testing.assert_allclose(resample(scores[row : row + 1], 1, labels)[:, 0], macro[:, row], rtol=1e-12)
    # Paired: a shifted copy has shifted draws.
    np.testing.assert_allclose(resample(scores[:1] + 0.25, 1)[:, 0], micro[:, 0] + 0.25)


def test_deterministic_in_the_seed():
    scores = np.random.default_rng(0).random((1, 300))
    assert interval(scores, seed=3) == interval(scores, seed=3)
    assert interval(scores, seed=3) != interval(scores, seed=4)


def test_degenerate_scores_have_no_width():
    assert interval(np.full((1, 50), 0.5), seed=0) == (0.5, 0.5)
    low, high = interval(np.array([[1.0], [0.3], [NAN]]), seed=0)  # one query
    np.testing.assert_array_equal(low, [1, 0.3, NAN])
    np.testing.assert_array_equal(high, [1, 0.3, NAN])
    low, high = interval(np.array([[NAN, 0.5, NAN], [NAN, NAN, NAN]]), seed=0)  # many draws hold no score
    np.testing.assert_array_equal(low, [0.5, NAN])
    np.testing.assert_array_equal(high, [0.5, NAN])
    low, _ = interval(np.empty((2, 0)), seed=0)
    assert np.isnan(low).all() and len(low) == 2
    assert [part.shape for part in interval(np.empty((0, 5)), seed=0)] == [(0,), (0,)]


# --- over groups


def test_groups_count_alike_whatever_their_queries():
    scores = np.array([[1.0, 1.0, 0.0, 0.0], [NAN, NAN, NAN, 1.0], [NAN] * 4])
    value, low, high = over_groups(scores, 0)
    assert value == 0.75  # (1/2 + 1) / 2
    # In all 4^4 draws: the mean of the first group's mean and, where the last query is drawn, of the second's.
    draws = [list(draw) for draw in itertools.product(range(4), repeat=4)]
    all_draws = np.array([np.nanmean([scores[0, d].mean(), *([1.0] if 3 in d else [])]) for d in draws])
    assert (low, high) == pytest.approx(np.quantile(all_draws, [0.025, 0.975]), abs=0.13)
    assert over_groups(scores[:1], 0) == pytest.approx((0.5, *(part.item() for part in interval(scores[:1], 0))))
    assert np.isnan(over_groups(np.full((2, 3), NAN), 0)).all()
    assert np.isnan(over_groups(np.empty((2, 0)), 0)).all()


# --- over seeds


def crossed(generator, seeds, queries, seed_noise, query_noise):
    """Scores about 0 with noise of seeds, of queries, and of both together."""
    noise = generator.standard_normal
    both = query_noise / 2 * noise((seeds, queries))
    return seed_noise * noise((seeds, 1)) + query_noise * noise(queries) + both


def test_one_seed_is_its_interval_over_queries():
    scores = np.random.default_rng(0).random((1, 60))
    labels = np.arange(60) % 7
    for groups in (None, labels):
        low, high = interval(scores, 5, groups)
        assert over_seeds(scores, 5, groups) == (resample(scores, 5, groups)[0, 0], low.item(), high.item())


def test_a_seed_without_scores_leaves_the_others():
    scores = np.random.default_rng(0).random((3, 40))
    scores[1] = NAN
    assert over_seeds(scores, 0) == over_seeds(scores[[0, 2]], 0)
    assert np.isnan(over_seeds(np.full((2, 4), NAN), 0)).all()
    assert np.isnan(over_seeds(np.empty((0, 4)), 0)).all()


@pytest.mark.parametrize("seeds", [3, 4, 5, 10])
def test_without_noise_of_queries_it_is_close_to_students(seeds):
    ratios = []
    for number in range(40):
        seed_means = np.random.default_rng(number).standard_normal(seeds)
        value, low, high = over_seeds(np.repeat(seed_means[:, None], 5, axis=1), number)
        student = stats.t.interval(0.95, seeds - 1, seed_means.mean(), stats.sem(seed_means))
        assert value == pytest.approx(seed_means.mean())
        ratios.append((high - low) / (student[1] - student[0]))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_two_seeds_by_hand():
    # Means 0.4 and 0.6. Half of the draws hold one seed twice: deviation 0.1, widened by sqrt(2) t / z. Student's would
    # be 12.7 * 0.1.
    value, low, high = over_seeds(np.array([[0.4] * 3, [0.6] * 3]), 0)
    half = 0.1 * np.sqrt(2) * 12.7062047 / 1.9599640
    assert (value, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), rel=1e-6)


def test_without_noise_of_seeds_it_is_the_interval_of_queries():
    scores = np.random.default_rng(0).random(80)
    low, high = interval(scores[None], 0)
    assert over_seeds(np.stack([scores] * 4), 0) == pytest.approx((scores.mean(), low.item(), high.item()))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_noise", [0.0, 0.1, 1.0])  # the mean over 100 queries has noise 0.1
def test_coverage_is_not_below_its_name(monkeypatch, seeds, seed_noise):
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    generator, covered, runs = np.random.default_rng(0), 0, 250
    for run in range(runs):
        _, low, high = over_seeds(crossed(generator, seeds, 100, seed_noise, 1.0), run)
        covered += low <= 0 <= high
    # 95 % less two standard errors of 250 runs; from above, wider than twice the true interval would be 99.9 %.
    assert 0.95 - 2 * np.sqrt(0.95 * 0.05 / runs) <= covered / runs <= 0.996


# --- differences


def test_a_constant_difference_is_certain():
    scores = np.random.default_rng(0).random((1, 50))
    assert difference(scores + 0.125, scores, 0) == pytest.approx((0.125, 0.125, 0.125))
    assert difference(scores, scores + 0.125, 0) == pytest.approx((-0.125, -0.125, -0.125))


@pytest.mark.parametrize("labels", [None, np.arange(30) % 4])
@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_scores_differ_by_exactly_nothing(labels, seeds):
    scores = np.random.default_rng(0).integers(0, 4, (seeds, 30)) / 3
    scores[0, 4] = NAN
    assert difference(scores, scores.copy(), 0, labels) == (0.0, 0.0, 0.0)
    assert relation(0.0, 0.0) == "not resolved"


def test_difference_is_that_of_the_paired_scores():
    random = np.random.default_rng(0)
    a = random.random((1, 70))
    b = a + 0.02 + 0.05 * random.standard_normal(70)
    value, low, high = difference(a, b, 0)
    expected_low, expected_high = interval(a - b, 0)  # one seed each: the difference of each query
    assert (value, low, high) == pytest.approx(((a - b).mean(), expected_low.item(), expected_high.item()))
    assert high < 0  # separate intervals, some 0.07 wide to either side, would overlap
    assert over_seeds(b, 0)[1] < over_seeds(a, 0)[2]


def test_a_limit_of_zero_is_exactly_zero():
    # Six queries won, one lost: in 5 % of the draws it comes to nothing or less, in under 2 % to less. What rounding
    # makes of a sum that should be 0 must not resolve it.
    b = np.random.default_rng(0).integers(1, 4, (1, 300)) / 3
    a = b.copy()
    a[0, [5, 40, 80, 120, 160, 200]] += 1 / 3
    a[0, 250] -= 1 / 3
    value, low, high = difference(a, b, 0)
    assert value == pytest.approx(5 / 900)
    assert low == 0 < high
    assert relation(low, high) == "not resolved"


def test_rounding_is_no_difference():
    a, b = np.full((1 + RESAMPLES, 1), 0.1 + 0.2), np.full((1 + RESAMPLES, 1), 0.3)
    assert (a != b).all()
    assert (contrast(a, b, 0) == 0).all()


def test_seeds_of_two_encoders_are_chosen_independently():
    a, b = (np.repeat(np.array(m)[:, None], 6, axis=1) for m in ([0.4, 0.5, 0.6], [0.5, 0.6, 0.7]))
    value, low, high = difference(a, b, 0)
    assert value == pytest.approx(-0.1)
    _, own_low, own_high = over_seeds(a, 0)
    # Wider than either alone; were the same seeds drawn for both, the difference would be constant.
    assert high - low > 1.2 * (own_high - own_low)
    # One seed against three: only the three vary.
    assert difference(a[1:2], b, 0)[2] - difference(a[1:2], b, 0)[1] == pytest.approx(own_high - own_low, rel=0.05)


def test_coverage_of_a_difference(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    generator, covered, runs = np.random.default_rng(1), 0, 250
    for run in range(runs):
        shared = generator.standard_normal(100)  # some queries are hard for everybody
        a, b = (crossed(generator, 3, 100, 0.2, 0.3) + shared for _ in range(2))
        _, low, high = difference(a, b, run)
        covered += low <= 0 <= high
    assert covered / runs >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / runs)


def test_macro_difference_weighs_classes_alike():
    labels = np.array([0] * 9 + [1])
    a, b = np.zeros((1, 10)), np.zeros((1, 10))
    a[0, 9] = 1
    assert difference(a, b, 0, labels)[0] == 0.5
    assert difference(a, b, 0)[0] == pytest.approx(0.1)


def test_a_side_without_scores_gives_no_difference():
    scores = np.random.default_rng(0).random((2, 8))
    for a, b in ((scores, np.full((1, 8), NAN)), (np.full((1, 8), NAN),) * 2, (scores, np.empty((0, 8)))):
        assert np.isnan(difference(a, b, 0)).all()
    assert np.isnan(contrast(np.empty((1 + RESAMPLES, 0)), np.empty((1 + RESAMPLES, 0)), 0)).all()


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 0.2, "better"),
        (-0.2, -0.1, "worse"),
        (-0.1, 0.2, "not resolved"),
        (0.0, 0.2, "not resolved"),
        (-0.2, 0.0, "not resolved"),
        (0.0, 0.0, "not resolved"),
        (NAN, NAN, "not resolved"),
    ],
)
def test_relation(low, high, word):
    assert relation(low, high) == word


def normals(*shape):
    """Draws of values 0 with a standard deviation of 1, float64 (1 + RESAMPLES, m)."""
    draws = np.random.default_rng(1).standard_normal((1 + RESAMPLES, *shape))
    draws[0] = 0
    return draws


def test_limits_that_hold_together_are_those_of_the_greatest_deviation():
    ten = normals(10)
    _, low, high = intervals.simultaneous(ten)
    # All ten of independent normals are within c with probability (2 Phi(c) - 1)^10 = 0.95.
    c = stats.norm.ppf((1 + 0.95**0.1) / 2)
    assert c == pytest.approx(2.8, abs=0.01)
    assert high == pytest.approx(c * np.ones(10), rel=0.06)
    np.testing.assert_allclose(low, -high)
    scale = 10.0 ** np.arange(10)
    np.testing.assert_allclose(intervals.simultaneous(ten * scale)[2], scale * high)  # each by its own deviation
    # Ten times the same is no more than once.
    once, copies = (intervals.simultaneous(np.repeat(normals(1), n, axis=1))[2] for n in (1, 10))
    np.testing.assert_allclose(copies, once[0] * np.ones(10))
    assert once[0] == pytest.approx(1.96, rel=0.05)


def test_no_limit_is_inside_the_value_s_own_interval():
    skewed = np.random.default_rng(2).exponential(size=(1 + RESAMPLES, 3))
    skewed[0] = 1
    (_, low, high), (_, least, greatest) = intervals.simultaneous(skewed), intervals.summary(skewed)
    assert (low <= least).all() and (high >= greatest).all()


def test_what_does_not_move_or_was_not_measured_widens_nothing():
    draws = normals(4)
    draws[:, 1], draws[:, 2] = 0.012, NAN
    value, low, high = intervals.simultaneous(draws)
    assert (value[1], low[1], high[1]) == (0.012, 0.012, 0.012)
    assert np.isnan([value[2], low[2], high[2]]).all()
    np.testing.assert_allclose(high[[0, 3]], intervals.simultaneous(draws[:, [0, 3]])[2])


def test_of_equal_pairs_one_seems_to_differ_in_a_twentieth_of_cases():
    """Four encoders with equal expectations, six pairs, 100 samples of 60 queries."""
    random = np.random.default_rng(3)
    pairs = list(itertools.combinations(range(4), 2))
    wrong = np.zeros(2)
    for _ in range(100):
        draws = resample(random.random((4, 60)) < 0.7, 0)
        apart = np.stack([draws[:, a] - draws[:, b] for a, b in pairs], axis=1)
        for number, how in enumerate((intervals.simultaneous, intervals.summary)):
            _, low, high = how(apart)
            wrong[number] += ((low > 0) | (high < 0)).any()
    together, alone = wrong / 100
    assert together <= 0.08
    assert alone >= 0.12
