"""The report's examples: queries worth looking at, what each encoder recommends for them, and its hubs."""

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visrec.data.csv_files import read_table
from visrec.data.images import ImageInfo
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.report.sprites import Pictures


@dataclass(frozen=True)
class Neighbour:
    """A recommended picture.

    Attributes:
        id: of the picture, in train.
        label: its class name, "" without.
        distance: to the query, L2.
        correct: whether it is of the query's class; None without labels.
    """

    id: str
    label: str
    distance: float
    correct: bool | None


@dataclass
class Lists:
    """An encoder's lists: query id -> neighbours, the nearest first, and query id -> class name.

    Queries are in the order of `visrec.scoring.queries.choose_queries`.
    """

    found: dict[str, list[Neighbour]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def of(self, queries: Iterable[str]) -> "Lists":
        """The lists of some queries; none if training failed."""
        kept = [query for query in queries if query in self.found]
        return Lists({query: self.found[query] for query in kept}, {query: self.labels[query] for query in kept})


def read(path: str | Path, neighbours: int) -> Lists:
    """Read neighbours.csv, so many of each list; no lists if training failed."""
    text = ["query_id", "query_label", "id", "label", "correct"]
    table = read_table(path, needed=[*text, "rank", "distance"], text=text, numbers=["distance"])
    lists = Lists()
    for row in table[table["rank"] <= neighbours].itertuples():
        correct = row.correct == "True" if row.correct else None
        lists.labels[row.query_id] = row.query_label
        lists.found.setdefault(row.query_id, []).append(Neighbour(row.id, row.label, row.distance, correct))
    return lists


def precision(found: Sequence[Neighbour]) -> float | None:
    """The fraction of right ones in a list; None where it is not known of all."""
    right = [one.correct for one in found]
    return None if None in right or not right else sum(right) / len(right)


def overlap(lists: Sequence[Sequence[Neighbour]]) -> float:
    """How much several lists have in common: the Jaccard index, its mean over pairs of lists."""
    sets = [{one.id for one in found} for found in lists]
    return statistics.fmean(len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2))


def typical(labels: Mapping[str, str], classes: Sequence[str], count: int) -> list[str]:
    """The first queries, from which classes were taken in turns; by class."""
    order = {name: number for number, name in enumerate(classes)}
    return sorted(list(labels)[:count], key=lambda query: order.get(labels[query], len(order)))


def hardest(lists: Sequence[Lists], queries: Iterable[str], count: int) -> list[str]:
    """The queries with the lowest mean precision over encoders, the lowest first; none without labels."""
    scored = {}
    for query in queries:
        values = [precision(one.found[query]) for one in lists]
        if None not in values:
            scored[query] = round(statistics.fmean(values), 9)  # equal ones are equal
    return sorted(scored, key=scored.get)[:count]


def disagreed(lists: Sequence[Lists], queries: Iterable[str], count: int) -> list[str]:
    """The queries about which encoders differ most: in precision, and of equals, in what they recommend.

    Without labels, by what they recommend alone; none with fewer than two encoders.
    """
    if len(lists) < 2:
        return []

    def unlike(query: str) -> tuple[float, float]:
        found = [one.found[query] for one in lists]
        values = [precision(each) for each in found]
        spread = 0.0 if None in values else max(values) - min(values)
        return -round(spread, 9), overlap(found)  # 1 - 2/3 is not 2/3 - 1/3

    return sorted(queries, key=unlike)[:count]


def hubs(lists: Lists, count: int) -> list[str]:
    """The pictures that are in most lists of an encoder, in at least two; of equals, by id."""
    often = Counter(one.id for found in lists.found.values() for one in found)
    return [name for name, number in sorted(often.items(), key=lambda each: (-each[1], each[0])) if number > 1][:count]


def examples(
    experiment: Experiment,
    chapter: Mapping[str, Any],
    pictures: Pictures,
    queries: int,
    neighbours: int,
) -> dict[str, Any] | None:
    """What the page shows of a chapter's neighbours, as plain data; None if no encoder has any.

    Args:
        experiment: with the shown trial of each encoder.
        chapter: with info (of images.h5), status of each encoder and `first`, the encoder that is shown first, if any.
        pictures: gets the pictures that are shown.
        queries: pictures in each selection.
        neighbours: neighbours of each query.

    Returns:
        encoders: name and status of each; `first`, the two that are shown first, by number;
        items: what can be looked at: `asked`, the picture's number, `kind` ("query" or "hub"), `says`, and `answers`,
        one per encoder: `says`, and `found`, lists of (picture, what stands below it, whether it is right or None);
        selections: name, about, and `items` for each encoder that can be the first.
    """
    files = {trial.encoder: experiment.path(trial, layout.NEIGHBOURS) for trial in experiment.trials}
    lists = {encoder: read(path, neighbours) if path.exists() else Lists() for encoder, path in files.items()}
    scored = [one for one in lists.values() if one.found]
    labels = dict(scored[0].labels) if scored else {}
    for one in scored:
        labels = {query: label for query, label in labels.items() if query in one.found}
    if not labels:
        return None
    lists = {encoder: one.of(labels) for encoder, one in lists.items()}
    scored = [one for one in lists.values() if one.found]
    drawn = _Drawn(lists, labels, chapter["status"], pictures, neighbours)
    selections = _selections(drawn, scored, chapter["info"], queries)
    return {
        "encoders": [{"name": encoder, "status": chapter["status"][encoder]} for encoder in lists],
        "first": _first_two(lists, chapter["first"]),
        "items": drawn.items,
        "selections": [one for one in selections if any(one["items"])],
    }


def _selections(drawn: "_Drawn", scored: Sequence[Lists], info: ImageInfo, count: int) -> Iterator[dict[str, Any]]:
    """All selections, also those that have nothing."""
    labels, encoders = drawn.labels, len(drawn.lists)
    k = max(len(found) for one in scored for found in one.found.values())
    of = f"Of the {len(labels)} queries that were searched, those"
    apart = f"differ most in precision@{k}, and of equals those where they " if any(labels.values()) else ""
    on_average = len(labels) * k / info.counts["train"]
    by_queries = [
        (
            "typical queries",
            "A fixed choice in which classes take turns; nobody picked them.",
            typical(labels, info.classes, count),
        ),
        (
            "hardest queries",
            f"{of} with the lowest precision@{k}, on average over all encoders.",
            hardest(scored, labels, count),
        ),
        (
            "most disagreed",
            f"{of} where encoders {apart}recommend the fewest pictures in common.",
            disagreed(scored, labels, count),
        ),
    ]
    for name, about, names in by_queries:
        yield {"name": name, "about": about, "items": encoders * [drawn.queries(names)]}
    yield {
        "name": "biggest hubs",
        "about": "The train pictures that are in most lists of the first encoder, and queries whose lists they are in. "
        f"On average a picture is in {on_average:.2g} of the {len(labels)} lists, which name {k} of "
        f"{info.counts['train']} each. Test pictures that were not searched have no list here.",
        "items": [drawn.hubs(encoder, hubs(one, count)) for encoder, one in drawn.lists.items()],
    }


def _first_two(lists: Mapping[str, Lists], first: str | None) -> list[int]:
    """Numbers of the encoders that are shown first: `first` and pixels, or others that have lists."""
    order = [first, "pixels", *lists]
    able = dict.fromkeys(encoder for encoder in order if encoder in lists and lists[encoder].found)
    rest = (encoder for encoder in lists if encoder not in able)
    return [list(lists).index(encoder) for encoder in (*able, *rest)][:2]


class _Drawn:
    """Items of the examples as they are asked for; a query that is in two selections is one item."""

    def __init__(
        self,
        lists: Mapping[str, Lists],
        labels: Mapping[str, str],
        status: Mapping[str, str],
        pictures: Pictures,
        neighbours: int,
    ):
        self.lists, self.labels, self.status = lists, labels, status
        self.pictures, self.neighbours = pictures, neighbours
        self.items: list[dict[str, Any]] = []
        self._known: dict[tuple[str, str], int] = {}

    def queries(self, names: Iterable[str]) -> list[int]:
        """Numbers of the items of some queries."""
        return [self._item("query", name, self.labels[name]) for name in names]

    def hubs(self, encoder: str, names: Iterable[str]) -> list[int]:
        """Numbers of the items of some hubs of an encoder."""
        labels = {one.id: one.label for found in self.lists[encoder].found.values() for one in found}
        return [self._item("hub", name, labels[name]) for name in names]

    def _item(self, kind: str, name: str, label: str) -> int:
        if (kind, name) not in self._known:
            self._known[kind, name] = len(self.items)
            of_kind = self._recommended if kind == "query" else self._recommended_to
            self.items.append(
                {
                    "kind": kind,
                    "asked": self.pictures.number("test" if kind == "query" else "train", name, label),
                    "says": f"{kind} {name}" + (f", label {label}" if label else ""),
                    "answers": [of_kind(encoder, name) for encoder in self.lists],
                }
            )
        return self._known[kind, name]

    def _recommended(self, encoder: str, query: str) -> dict[str, Any]:
        found = self.lists[encoder].found.get(query)
        if not found:
            return self._nothing(encoder)
        shown = [
            (self.pictures.number("train", one.id, one.label), f"{one.distance:.3g}", one.correct) for one in found
        ]
        return {"says": _counted(f"{len(found)} pictures", [one.correct for one in found]), "found": shown}

    def _recommended_to(self, encoder: str, hub: str) -> dict[str, Any]:
        """The queries in whose lists a picture is, and at which rank."""
        lists = self.lists[encoder]
        if not lists.found:
            return self._nothing(encoder)
        ranked = {}
        for query in self.labels:
            for rank, one in enumerate(lists.found[query], start=1):
                if one.id == hub:
                    ranked.setdefault(query, (rank, one.correct))
        right = [correct for _, correct in ranked.values()]
        says = f"in {len(ranked)} of {len(self.labels)} lists"
        if right and None not in right:
            says += f", {sum(right)} of its class"
        if len(ranked) > self.neighbours:
            says += f"; {self.neighbours} shown"
        shown = [
            (self.pictures.number("test", query, self.labels[query]), f"rank {rank}", correct)
            for query, (rank, correct) in itertools.islice(ranked.items(), self.neighbours)
        ]
        return {"says": says, "found": shown}

    def _nothing(self, encoder: str) -> dict[str, Any]:
        status = self.status[encoder]
        return {"says": "no neighbours" + (f": {status}" if status != "ok" else ""), "found": []}


def _counted(without: str, right: Sequence[bool | None]) -> str:
    """How many are right, or other words where that is not known."""
    return without if None in right else f"{sum(right)} of {len(right)} right"
