"""What a training says about itself while it runs: a row of history.csv, and an end that is called by its name.

Each encoder's file declares the readings of its method as a literal, READINGS: column of history.csv -> `title`, and
where they make sense `healthy` ([low, high], either may be None), `below` and `above` (what to think then),
`collapse_below`, and how its curve is drawn. Status, warnings and curves all follow from it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Games swing widely in their first hundreds of iterations: the variance of AGE's e(x) was seen to fall to 0.7 % of the
# healthy one and to come back within 30 iterations. So only what lasts this long is called a collapse.
COLLAPSED_ITERATIONS = 1000
COLLAPSED_READINGS = 3
LAST = 0.1  # share of a training's readings, its last ones, by which it held or did not
LAST_READINGS = 5  # with fewer, nothing can be said


def values(readings: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars on the device as numbers, in one read."""
    return dict(zip(readings, torch.stack([*readings.values()]).tolist(), strict=True))


def spread(fakes: Tensor, real: Tensor) -> Tensor:
    """How far samples spread, in terms of real images: standard deviations over images, averaged over pixels.

    Args:
        fakes: float32 (B, 3, S, S).
        real: float32 (B, 3, S, S); of equal ones the spread is taken for the smallest number that there is.
    """
    return fakes.std(dim=0).mean() / real.std(dim=0).mean().clamp(min=torch.finfo(real.dtype).tiny)


def out_of_range(
    rows: Sequence[Mapping[str, float]], readings: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[str, str]]:
    """The readings whose median over some rows is out of their healthy range: {name: ("below" | "above", a line)}."""
    found = {}
    for name, about in readings.items():
        if "healthy" not in about:
            continue
        low, high = about["healthy"]
        median = statistics.median_low(row[name] for row in rows)
        if low is not None and median < low:
            found[name] = "below", f"{name} is {median:.2f}, below the healthy {low:g}"
        elif high is not None and median > high:
            found[name] = "above", f"{name} is {median:.2f}, above the healthy {high:g}"
    return found


def held(history: Sequence[Mapping[str, float]], readings: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """("ok" | "unstable", why), from all rows of a training that ended.

    Unstable: the median of a reading over the last tenth of the rows is out of its healthy range. Its features are
    finite and are scored, but its networks no longer do what they are trained for.
    """
    last = history[-round(len(history) * LAST) :]
    wrong = out_of_range(last, readings) if len(history) * LAST >= LAST_READINGS else {}
    if not wrong:
        return "ok", ""
    lines = ", ".join(line for _, line in wrong.values())
    return "unstable", f"from iteration {last[0]['iteration']} on, {lines}"


def judge(history: Sequence[Mapping[str, float]], readings: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """("ok" | "diverged" | "collapsed", why), from the rows of history.csv so far.

    Diverged: a value is not finite. Collapsed: a reading was below its `collapse_below` over the last
    COLLAPSED_ITERATIONS, and COLLAPSED_READINGS at least.
    """
    last = history[-1]
    broken = [name for name, value in last.items() if not math.isfinite(value)]
    if broken:
        return "diverged", f"{broken[0]} is not finite at iteration {last['iteration']}"
    recent = [row for row in history if row["iteration"] > last["iteration"] - COLLAPSED_ITERATIONS]
    if last["iteration"] < COLLAPSED_ITERATIONS or len(history) < COLLAPSED_READINGS:
        return "ok", ""
    recent = history[-max(len(recent), COLLAPSED_READINGS) :]
    for name, about in readings.items():
        limit = about.get("collapse_below")
        if limit is not None and max(row[name] for row in recent) < limit:
            since = recent[0]["iteration"]
            return "collapsed", f"{name} was below {limit:g} from iteration {since} to {last['iteration']}"
    return "ok", ""
