"""Axes of the page's small charts."""

import pytest

from visrec.report.charts import Axis, decades, shares, spaced


def test_places_on_an_axis():
    linear = Axis(0.2, 0.6)
    assert [linear.at(value) for value in (0.2, 0.3, 0.6, 0.9)] == [0, 25, 100, 100]
    log = Axis(1, 1000, log=True)
    assert [log.at(value) for value in (1, 10, 1000)] == pytest.approx([0, 100 / 3, 100], abs=1e-3)


def test_shares_stand_between_ticks():
    axis, ticks = shares([0.961, 0.95], [0.99, 0.984])
    assert (axis.low, axis.high) == pytest.approx((0.95, 0.99))
    assert ticks == pytest.approx([0.95, 0.96, 0.97, 0.98, 0.99])
    axis, ticks = shares([0.5], [0.5])
    assert ticks == pytest.approx([0.5, 0.505])
    assert axis.high > axis.low
    assert shares([0.0], [1.0])[1] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_decades_have_two_ticks_at_least():
    axis, ticks = decades([0.007, 112])
    assert ticks == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert axis.at(0.007) > 0 and axis.at(112) < 100
    assert decades([128, 140])[1] == [100, 200]
    assert len(decades([1e-6, 1e9])[1]) <= 6


def test_labels_are_moved_apart_as_little_as_need_be():
    assert spaced([10, 50, 90], 8) == [10, 50, 90]
    assert spaced([50, 50, 20], 8) == [50, 58, 20]
    assert spaced([99, 98, 97], 5) == [100, 95, 90]
    assert spaced([], 5) == []
    assert spaced([5.0] * 5, 40) == [0, 25, 50, 75, 100]
