"""Warnings while a network trains: what is out of its healthy range, and what is likely behind it.

No result depends on them, so code fingerprints leave this file out.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from visrec.training.readings import out_of_range

log = logging.getLogger(__name__)

# Games swing widely in their first hundreds of iterations.
AFTER = 1000  # iterations
ROWS = 5


def found(history: Sequence[Mapping[str, float]], readings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What is out of its healthy range: {reading: one line with the likely cause}.

    A symptom shows in the median of the last ROWS rows, from iteration AFTER on.

    Args:
        history: rows of history.csv so far.
        readings: what the encoder declares, see `visrec.training.readings`.
    """
    if len(history) < ROWS or history[-1]["iteration"] < AFTER:
        return {}
    symptoms = {}
    for name, (side, line) in out_of_range(history[-ROWS:], readings).items():
        symptoms[name] = f"{line}: {readings[name][side]}" if side in readings[name] else line
    return symptoms


def warn(history: Sequence[Mapping[str, float]], readings: Mapping[str, Mapping[str, Any]], warned: list[str]) -> None:
    """Log what is found, each reading once; `warned` keeps their names."""
    for name, what in found(history, readings).items():
        if name not in warned:
            warned.append(name)
            log.warning("iteration %d: %s", history[-1]["iteration"], what)
