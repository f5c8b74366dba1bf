"""By how much the best encoder leads, and whether that is certain: a sentence each, below the conclusion of a verdict.

As in all verdicts, the words are those of the paired differences (`visrec.report.verdict`).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from visrec.report.verdict import (
    BETTER,
    IDENTICAL,
    NOT_MEASURED,
    Score,
    compared,
    named,
    percent,
    relation,
    signed,
    some_of,
)

LEAST = 0.0005  # a difference below it rounds to 0.0 points
ROUNDING = 1e-9  # of a mean over queries


class Lead(NamedTuple):
    """What stands below the conclusion: `by`, the difference from the next; `certain`, which differences hold."""

    by: str
    certain: str


def lead(
    scores: Mapping[str, Score],
    comparisons: Sequence[Mapping[str, Any]],
    disclosed: Mapping[str, str] = MappingProxyType({}),
) -> Lead | None:
    """What can be said of the best of several encoders; None of fewer than two.

    Args:
        scores: encoder -> precision; those that are not measured do not count.
        comparisons: rows of comparisons.csv of one dataset and size, or of overall_pairs.csv.
        disclosed: encoder -> what has to be said where its score stands.
    """
    scores = {encoder: one for encoder, one in scores.items() if one.measured}
    if len(scores) < 2:
        return None
    best = max(scores, key=lambda encoder: scores[encoder].value)
    others = [encoder for encoder in scores if encoder != best]
    return Lead(_by(best, others, scores, comparisons, disclosed), _certain(best, others, comparisons))


def _by(
    best: str,
    others: Sequence[str],
    scores: Mapping[str, Score],
    comparisons: Sequence[Mapping[str, Any]],
    disclosed: Mapping[str, str],
) -> str:
    """The difference from the next, in points, with its interval; of several that are next, if they are identical."""
    first, second = scores[best].value, max(others, key=lambda encoder: scores[encoder].value)
    following = scores[second].value
    same = [other for other in others if first - scores[other].value < ROUNDING]
    alike = [other for other in others if other == second or relation(comparisons, second, other) == IDENTICAL]
    names = some_of([named(other, disclosed) for other in same or alike], len(others))
    if same:
        return f"Not at all: {best} and {names} score the same, {percent(first)}."
    apart = "less than 0.1" if first - following < LEAST else f"{100 * (first - following):.1f}"
    said = f"{best} leads by {apart} points: {percent(first)} against {percent(following)} with {names}, the next."
    _, difference = compared(comparisons, best, second, "precision")
    if not difference.measured:
        return said
    zero = ", which includes 0" if difference.low <= 0 <= difference.high else ""
    return (
        f"{said} 95\N{NO-BREAK SPACE}% interval of the difference: {signed(difference.low)} to "
        f"{signed(difference.high)}{zero}."
    )


def _certain(best: str, others: Sequence[str], comparisons: Sequence[Mapping[str, Any]]) -> str:
    """From which of the others the best is told apart."""
    words = {other: relation(comparisons, best, other) for other in others}
    behind = [other for other, word in words.items() if word == BETTER]
    unknown = [other for other, word in words.items() if word == NOT_MEASURED]
    open_ = [other for other in others if other not in (*behind, *unknown)]
    if len(behind) == len(others):
        every = f"all {len(others)} others" if len(others) > 1 else others[0]
        return f"Measurably better than {every}."
    parts = [f"measurably better than {some_of(behind, len(others))}"] if behind else []
    parts += [f"no measurable difference from {some_of(open_, len(others))}"] if open_ else []
    parts += [f"not compared with {some_of(unknown, len(others))}"] if unknown else []
    return f"{'Only in part' if behind else 'No'}: {'; '.join(parts)}."
