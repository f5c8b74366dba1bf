from visrec.training.readings import judge

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
