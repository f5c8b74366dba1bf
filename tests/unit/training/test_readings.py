import math

import pytest
import torch

from visrec.training.readings import held, judge, spread

READINGS = {
    "loss": {"title": "Loss"},
    "variance": {"title": "Variance", "collapse_below": 0.01},
    "spread": {"title": "Spread", "collapse_below": 0.02},
}


def rows(count: int, step: int, **values) -> list[dict]:
    healthy = {"loss": 1.0, "variance": 0.9, "spread": 0.8}
    return [{"iteration": step * (i + 1), **healthy, **values} for i in range(count)]


def test_a_value_that_is_not_finite_is_a_divergence():
    assert judge([*rows(1, 1), {"iteration": 2, "loss": float("nan")}], READINGS) == (
        "diverged",
        "loss is not finite at iteration 2",
    )


def test_a_collapse_is_what_lasts():
    assert judge(rows(10, 200), READINGS) == ("ok", "")
    found = judge(rows(10, 200, variance=0.001), READINGS)
    assert found == ("collapsed", "variance was below 0.01 from iteration 1200 to 2000")
    assert judge(rows(10, 200, spread=0.019), READINGS)[0] == "collapsed"
    assert judge(rows(10, 200, spread=0.021), READINGS)[0] == "ok"
    assert judge(rows(10, 200, loss=0.0), READINGS)[0] == "ok"  # nothing is declared of it
    # one good reading within the last 1,000 iterations, or fewer than 1,000 iterations, or than three readings: not yet
    low = rows(10, 200, variance=0.001)
    assert judge([*low[:6], rows(10, 200)[6], *low[7:]], READINGS) == ("ok", "")
    assert judge(rows(30, 10, variance=0.001), READINGS)[0] == "ok"
    assert judge(rows(2, 2000, variance=0.001), READINGS)[0] == "ok"
    assert judge(rows(3, 2000, variance=0.001), READINGS)[0] == "collapsed"


RANGES = {"cosine": {"title": "Cosine", "healthy": [0.5, 1.0]}, "kl": {"title": "KL", "healthy": [None, 1.1]}}


def trained(*medians: tuple[float, float]) -> list[dict]:
    """Ten rows for each pair of a cosine and a divergence."""
    pairs = [pair for pair in medians for _ in range(10)]
    return [{"iteration": 100 * (i + 1), "cosine": cosine, "kl": kl} for i, (cosine, kl) in enumerate(pairs)]


def test_a_training_whose_last_tenth_is_out_of_range_is_unstable():
    good, bad = (0.8, 1.05), (0.03, 2.5)
    assert held(trained(*[good] * 10), RANGES) == ("ok", "")
    assert held(trained(*[bad] * 9, good), RANGES) == ("ok", "")  # it came back
    status, reason = held(trained(*[good] * 9, bad), RANGES)
    assert status == "unstable"
    assert reason == (
        "from iteration 9100 on, cosine is 0.03, below the healthy 0.5, kl is 2.50, above the healthy 1.1"
    )
    assert (
        held(trained(*[good] * 9, (0.8, 2.5)), RANGES)[1] == "from iteration 9100 on, kl is 2.50, above the healthy 1.1"
    )


def test_one_odd_reading_is_not_unstable_and_few_readings_say_nothing():
    rows = trained(*[(0.8, 1.05)] * 10)
    rows[-1] = rows[-1] | {"kl": 9.0}
    assert held(rows, RANGES) == ("ok", "")
    assert held(trained(*[(0.03, 2.5)] * 4), RANGES) == ("ok", "")  # 40 readings: a tenth is 4
    assert held(trained(*[(0.03, 2.5)] * 5), RANGES)[0] == "unstable"


def test_spread_is_in_terms_of_real_images_and_a_number_where_these_are_all_alike():
    fakes, real = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    fakes[0], real[0] = 1, 2
    assert spread(fakes, real).item() == pytest.approx(0.5)
    assert math.isfinite(spread(fakes, torch.ones(2, 3, 4, 4)).item())
