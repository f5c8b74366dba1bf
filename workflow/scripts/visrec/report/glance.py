"""The one query that stands beside the answer, with what the best encoder and a baseline recommend for it."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

SHOWN = 5  # neighbours in a row


def glance(examples: Mapping[str, Any] | None, order: Iterable[str]) -> dict[str, Any] | None:
    """A query and two encoders' lists, cut from `visrec.report.examples.examples`; None where nobody has any.

    Of the typical queries, a choice that nobody made by looking, it is the one where both encoders are nearest to their
    averages over these queries, by the share of right ones among the neighbours shown. So no encoder has its best day.

    Args:
        examples: what the page shows of the neighbours.
        order: encoders, the first two that have lists are shown.

    Returns:
        `asked`, the picture's number; `says`; `answers`, of each encoder its `encoder`, `says` and `found` as in the
        items of the examples.
    """
    if examples is None:
        return None
    number = {one["name"]: place for place, one in enumerate(examples["encoders"])}
    selection = examples["selections"][0]
    typical = [examples["items"][place] for place in selection["items"][0]]
    able = [name for name in dict.fromkeys(order) if name in number and typical[0]["answers"][number[name]]["found"]]
    pair = able[:2]
    if not pair:
        return None
    item = typical[_most_average([[_share(one, number[name]) for name in pair] for one in typical])]
    return {
        "asked": item["asked"],
        "says": item["says"],
        "answers": [_answer(name, item["answers"][number[name]]["found"][:SHOWN]) for name in pair],
    }


def _share(item: Mapping[str, Any], encoder: int) -> float | None:
    """The share of right ones among the neighbours shown; None where that is not known."""
    right = [each for _, _, each in item["answers"][encoder]["found"][:SHOWN]]
    return None if None in right else fmean(right)


def _most_average(shares: Sequence[Sequence[float | None]]) -> int:
    """Which row is nearest to the mean of all, of equals the first; the first where one is not known."""
    if any(None in row for row in shares):
        return 0
    means = [fmean(column) for column in zip(*shares, strict=True)]
    apart = [round(sum(abs(a - b) for a, b in zip(row, means, strict=True)), 9) for row in shares]
    return apart.index(min(apart))


def _answer(encoder: str, found: Sequence[tuple[int, str, bool | None]]) -> dict[str, Any]:
    right = [each for _, _, each in found]
    says = f"{len(found)} nearest" if None in right else f"{sum(right)} of {len(found)} right"
    return {"encoder": encoder, "says": says, "found": found}
