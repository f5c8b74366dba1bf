import numpy as np
import pytest

from visrec.intervals import interval, resolved


@pytest.mark.parametrize(("n", "p"), [(400, 0.5), (2000, 0.16)])
def test_width_is_that_of_the_binomial(n, p):
    scores = np.zeros(n)
    scores[: round(n * p)] = 1
    low, high = interval(scores, seed=0)
    half = 1.96 * np.sqrt(p * (1 - p) / n)
    assert low == pytest.approx(p - half, abs=0.08 * half)
    assert high == pytest.approx(p + half, abs=0.08 * half)


def test_deterministic_in_the_seed():
    scores = np.random.default_rng(0).random(300)
    assert interval(scores, seed=3) == interval(scores, seed=3)
    assert interval(scores, seed=3) != interval(scores, seed=4)


def test_rows_share_their_draws_whatever_the_batch(monkeypatch):
    scores = np.random.default_rng(0).random((4, 251))
    low, high = interval(scores, seed=1)
    assert low.shape == high.shape == (4,)
    monkeypatch.setattr("visrec.intervals.BATCH", 4000)
    for row, row_low, row_high in zip(scores, low, high, strict=True):
        np.testing.assert_allclose(interval(row, seed=1), (row_low, row_high), rtol=1e-12)
    # Paired draws: a shifted copy has the shifted interval.
    np.testing.assert_allclose(interval(np.stack([scores[0], scores[0] + 0.25]), seed=1)[0][1], low[0] + 0.25)


def test_degenerate_scores_have_no_width():
    assert interval(np.full(50, 0.5), seed=0) == (0.5, 0.5)
    low, high = interval(np.array([[1.0], [0.0]]), seed=0)
    assert low.tolist() == high.tolist() == [1.0, 0.0]


def test_resolved():
    assert resolved(0.1, 0.2, 0.3, 0.4)
    assert resolved(0.3, 0.4, 0.1, 0.2)
    assert not resolved(0.1, 0.3, 0.3, 0.4)
    assert not resolved(0.0, 1.0, 0.4, 0.5)
    assert resolved(np.nan, np.nan, 0.1, 0.2) is False
