"""The one query that stands beside the answer, with what the best encoder and a baseline recommend for it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.report.examples import Lists, Neighbour, precision, read
from visrec.report.sprites import Pictures
from visrec.report.verdict import missing, percent

MOST = 5  # neighbours in a row


def glance(
    experiment: Experiment, averages: Mapping[str, float], order: Iterable[str], k: int, pictures: Pictures
) -> dict[str, Any] | None:
    """A query and two encoders' lists, which nobody chose by looking; None where no encoder has lists.

    Of all queries that were searched it is the one where both encoders are nearest to their averages, by the share of
    right ones among the neighbours shown: none has its best day or its worst. One that is behind on average is not
    shown in front.

    Args:
        experiment: with the shown trial of each encoder.
        averages: encoder -> its precision@k, NaN where it has none.
        order: encoders, the first two that have lists are shown.
        k: of the averages; so many neighbours are shown, `MOST` at most.
        pictures: gets the pictures that are shown.

    Returns:
        `asked`, the picture's number; `queries`, of how many it was taken; `typical`, False where nothing is right or
        wrong and it is the first; `answers`, of each encoder its `encoder`, `says`, and `found`, pairs of a picture's
        number and whether it is right, or None.
    """
    lists = _two(experiment, order, min(k, MOST))
    if not lists:
        return None
    first, *_ = lists.values()
    queries = [query for query in first.found if all(query in one.found for one in lists.values())]
    shares = [[precision(one.found[query]) for one in lists.values()] for query in queries]
    means = [averages[encoder] for encoder in lists]
    known = not any(map(missing, means)) and not any(None in row for row in shares)
    query = queries[_most_average(shares, means) if known else 0]
    return {
        "asked": pictures.number("test", query, first.labels[query]),
        "queries": len(queries),
        "typical": known,
        "answers": [
            _answer(encoder, one.found[query], mean if known else None, pictures)
            for (encoder, one), mean in zip(lists.items(), means, strict=True)
        ],
    }


def _two(experiment: Experiment, order: Iterable[str], neighbours: int) -> dict[str, Lists]:
    """The lists of the first two encoders that have some."""
    files = {trial.encoder: experiment.path(trial, layout.NEIGHBOURS) for trial in experiment.trials}
    lists: dict[str, Lists] = {}
    for encoder in dict.fromkeys(order):
        path = files.get(encoder)
        found = read(path, neighbours) if path is not None and path.exists() else Lists()
        if found.found and len(lists) < 2:
            lists[encoder] = found
    return lists


def _most_average(shares: Sequence[Sequence[float]], means: Sequence[float]) -> int:
    """Which row is nearest to the means and does not contradict their order; of equals the first."""

    def far(row: Sequence[float]) -> tuple[bool, float]:
        turned = (row[0] - row[-1]) * (means[0] - means[-1]) < 0
        return turned, round(sum(abs(a - b) for a, b in zip(row, means, strict=True)), 9)

    apart = [far(row) for row in shares]
    return apart.index(min(apart))


def _answer(encoder: str, found: Sequence[Neighbour], mean: float | None, pictures: Pictures) -> dict[str, Any]:
    says = f"{len(found)} nearest"
    if mean is not None:
        right = sum(bool(one.correct) for one in found)
        says = f"{right} of {len(found)} right, mean {percent(mean)}"
    shown = [(pictures.number("train", one.id, one.label), one.correct) for one in found]
    return {"encoder": encoder, "says": says, "found": shown}
