"""Where things stand in the page's small charts, in percent of their length from the left or from the bottom.

The charts are HTML and CSS with the page's own text and colours, so they can be read aloud, found and printed.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
MOST_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """A range of numbers on an axis, linear or logarithmic; all of it positive if it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a number stands, 0 to 100."""
        low, high, value = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return round(100 * min(1, max(0, (value - low) / (high - low))), 3)


def shares(lows: Sequence[float], highs: Sequence[float]) -> tuple[Axis, list[float]]:
    """An axis for fractions that holds all intervals, between two ticks, and its ticks."""
    low, high = min(lows), max(highs)
    step = next((each for each in STEPS if (high - low) / each <= MOST_TICKS - 1), STEPS[-1])
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Axis(first * step, last * step), [step * number for number in range(first, last + 1)]


def decades(values: Sequence[float]) -> tuple[Axis, list[float]]:
    """A logarithmic axis with room beside the least and the greatest of some positive numbers, and its powers of ten.

    At least two ticks: where there are not two powers of ten, also twice and five times one.
    """
    low, high = min(values) / 1.6, max(values) * 1.6
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**power for power, factor in itertools.product(powers, factors)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 1:
            break
    return Axis(low, high, log=True), ticks[:: math.ceil(len(ticks) / MOST_TICKS)]


def spaced(places: Sequence[float], least: float) -> list[float]:
    """Places 0 to 100 moved as little as need be, in their order, so that neighbours are at least so far apart.

    Where they do not fit, they are spread evenly.
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    if len(places) > 1 and least * (len(places) - 1) > 100:
        least = 100 / (len(places) - 1)
    moved = [0.0] * len(places)
    floor = 0.0
    for number in order:
        moved[number] = max(places[number], floor)
        floor = moved[number] + least
    ceiling = 100.0
    for number in reversed(order):
        moved[number] = min(moved[number], ceiling)
        ceiling = moved[number] - least
    return [round(place, 3) for place in moved]
