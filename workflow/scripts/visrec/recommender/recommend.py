"""Recommend pictures of a gallery for the photos in a folder: a CSV file, and a page to look at."""

import csv
import functools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visrec.data.csv_files import FORMULA, as_text
from visrec.data.files import atomic, expanded, write_text
from visrec.errors import UserError, printable
from visrec.experiment import layout
from visrec.experiment.trials import Trial
from visrec.recommender import catalogue
from visrec.recommender.answers import Answer, answers
from visrec.recommender.catalogue import Gallery
from visrec.recommender.choice import choose, tested
from visrec.recommender.page import ON_PAGE, page
from visrec.recommender.recommender import Recommender
from visrec.report import TABLES

log = logging.getLogger(__name__)

COLUMNS = ("query", "rank", "id", "path", "distance", "label", "closer_than")
CHUNK = 4096  # queries in memory at once


@dataclass(frozen=True)
class TrialChoice:
    """Which trial recommends.

    Attributes:
        dataset: whose trial.
        size: of its pictures, pixels.
        planned: encoder/trial, and why; None: the leaderboard, which was not there yet, chooses now.
        trials: to choose from, as for `visrec.recommender.choice.choose`.
    """

    dataset: str
    size: int
    planned: tuple[str, str] | None = None
    trials: Sequence[Trial] = ()


def recommend(
    results_dir: str | Path,
    query: str | Path,
    options: Mapping[str, Any],
    chosen: TrialChoice,
    source: Mapping[str, str] | None,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Write recommend/recommendations.csv and .html of all pictures in `query`.

    The CSV has a line per query and rank: query, rank (1..k), id, path, distance, label, closer_than (see
    `visrec.recommender.likeness.closer_than`). A query that is in the gallery itself is not in its own list. File names
    are unchanged, in quotes; what a spreadsheet would take for a formula is written as `spelled` and `as_text` say.

    Args:
        results_dir: results/{experiment}.
        query: a folder of pictures, or one picture.
        options: the config's `recommend`.
        chosen: which trial recommends.
        source: `path` and `labels` of the dataset where it is a folder of pictures, else None.
        device: "auto", "cpu" or "cuda".
        threads: that decode and search.

    Raises:
        UserError: no query can be read, there is no gallery, or the trial cannot embed new pictures.
    """
    results, root = Path(results_dir), expanded(query)
    dataset, size = chosen.dataset, chosen.size
    leaderboard = results / layout.TABLES / TABLES["leaderboard"]
    trial, why = chosen.planned or choose(leaderboard, chosen.trials, dataset, size)
    log.info("trial %s of %s at %d px: %s", trial, dataset, size, why)
    files, skipped = catalogue.pictures_in(root)
    recommender = _recommender(results / dataset / f"{size}px" / trial, options, source, device, threads)
    score = tested(leaderboard, (dataset, size), trial, recommender.space)
    log.info("on test: %s", score or "in no table")

    out = results / "recommend"
    shown: list[Answer] = []
    most_shown, counts = max(1, min(options["shown"], ON_PAGE // options["k"])), Counter()
    with (
        atomic(out / "recommendations.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as table,
    ):
        writer = csv.writer(table, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        for queries, features in _embedded(recommender, root, files, skipped):
            answered = answers(recommender, queries, features, options["k"])
            writer.writerows(line for answer in answered for line in _lines(recommender.gallery, answer))
            shown += answered[: most_shown - len(shown)]
            counts.update(answer.typicality for answer in answered)
            counts["itself"] += sum(answer.itself is not None for answer in answered)
        if not counts:
            first = f"the first, {printable(skipped[0][0])}: {skipped[0][1]}" if skipped else "it has no pictures"
            raise UserError(f"query {printable(str(root))}: no picture in it can be read; {first}")
    for kind, left_out in (("query", skipped), ("gallery", recommender.gallery.skipped)):
        for name, reason in left_out:
            log.warning("%s: left out %s: %s", kind, printable(name), reason)
    facts = {"experiment": results.name, "dataset": dataset, "size": size, "trial": trial, "why": why, "tested": score}
    facts |= {"k": min(options["k"], len(recommender.gallery.ids)), "results": results, "skipped": skipped}
    write_text(out / "recommendations.html", page(recommender, root, shown, counts, facts))
    themselves = counts.pop("itself")
    if themselves:
        log.info("%d in the gallery themselves, and left out of their own lists", themselves)
    for each, count in counts.most_common():
        log.info("%d of %d: %s", count, counts.total(), each)
    total = "1 picture" if counts.total() == 1 else f"{counts.total()} pictures"
    log.info("recommendations for %s are at %s", total, (out / "recommendations.html").resolve())


def _recommender(
    folder: Path, options: Mapping[str, Any], source: Mapping[str, str] | None, device: str, threads: int
) -> Recommender:
    root, label = options["gallery"], catalogue.parents
    if source and (not root or _same(root, source["path"])):
        root, label = source["path"], functools.partial(catalogue.classes, table=source["labels"])
    return Recommender(
        folder,
        expanded(root) if root else None,
        label=label,
        space=(options["features"], options["distance"]),
        device=device,
        threads=threads,
        approximate=(options["approximate_above"], options["recall"]),
    )


def _same(a: str, b: str) -> bool:
    return expanded(a).resolve() == expanded(b).resolve()


def spelled(path: str | Path) -> str:
    """A path as it is in the CSV: with ./ before what a spreadsheet would calculate."""
    return f"./{path}" if str(path).startswith(FORMULA) else str(path)


def _embedded(
    recommender: Recommender, root: Path, files: Sequence[str], skipped: list[tuple[str, str]]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Paths and features (n, D) of the queries that can be read; the others are added to `skipped`."""
    base = root if root.is_dir() else root.parent
    items = [(name, base / name) for name in files]
    paths: list[str] = []
    vectors: list[np.ndarray] = []
    embedded = recommender.embedder.embed(items, "embedding the queries")
    for (name, path), (vector, reason) in zip(items, embedded, strict=True):
        if reason:
            skipped.append((name, reason))
            continue
        paths.append(str(path))
        vectors.append(vector)
        if len(paths) == CHUNK:
            yield paths, np.stack(vectors)
            paths, vectors = [], []
    if paths:
        yield paths, np.stack(vectors)


def _lines(gallery: Gallery, answer: Answer) -> Iterator[tuple]:
    root = gallery.root or Path()
    for rank, (row, distance, closer) in enumerate(
        zip(answer.rows, answer.distances, answer.closer, strict=True), start=1
    ):
        path = spelled(root / gallery.paths[row][0]) if gallery.paths[row] else ""
        identity, label = as_text(str(gallery.ids[row])), as_text(gallery.labels[row])
        share = "" if math.isnan(closer) else round(float(closer), 4)
        yield spelled(answer.query), rank, identity, path, float(f"{distance:.7g}"), label, share
