"""Recommend pictures of a gallery for the photos in a folder: a CSV file, and a page to look at."""

import csv
import functools
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visrec.data import pictures
from visrec.data.files import atomic, write_text
from visrec.data.hdf5 import IMAGES, reading
from visrec.errors import UserError, printable
from visrec.experiment.trials import Trial
from visrec.recommender import catalogue
from visrec.recommender.catalogue import Gallery
from visrec.recommender.choice import choose
from visrec.recommender.recommender import Found, Recommender
from visrec.report import sheets, style
from visrec.report.rendering import render

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "templates" / "recommendations.html"
COLUMNS = ("query", "rank", "id", "path", "distance", "label")
CHUNK = 4096  # queries in memory at once
ON_PAGE = 1000  # recommendations on the page at most: at about 3 kB each, a few MB
QUERY_SIDE, ANSWER_SIDE = 160, 112  # longer sides of pictures on the page, pixels
QUALITY = 72  # of WebP
TOLERANCE = 1e-4  # of the median distance between neighbours, ten times the distance that rounding gives equal features
# A cell that begins with one of these, or their full-width forms, is a formula for some spreadsheet.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")

LIKE, UNUSUAL, UNLIKE = "looks like the gallery", "unusual", "unlike anything in the gallery"
SAME, UNKNOWN = "same features as a gallery picture", "gallery too small to tell"
MARKS = {LIKE: "●", UNUSUAL: "◐", UNLIKE: "○", SAME: "=", UNKNOWN: "·"}
LEVELS = ((0.01, UNLIKE), (0.05, UNUSUAL))


@dataclass(frozen=True)
class Answers:
    """Some queries and what was found for them.

    Attributes:
        queries: Q paths.
        found: their nearest pictures.
        p: float64 (Q,), see `visrec.recommender.index.Index.p_values`.
        typicality: how each query compares with the gallery, see `typicality`.
    """

    queries: list[str]
    found: Found
    p: np.ndarray
    typicality: list[str]


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

    The CSV has a line per query and rank: query, rank (1..k), id, path, distance (L2), label. File names are unchanged,
    in quotes; what a spreadsheet would take for a formula is written as `spelled` and `as_text` say.

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
    results, root = Path(results_dir), Path(query).expanduser()
    dataset, size = chosen.dataset, chosen.size
    trial, why = chosen.planned or choose(results / "tables/leaderboard.csv", chosen.trials, dataset, size)
    log.info("trial %s of %s at %d px: %s", trial, dataset, size, why)
    files, skipped = catalogue.pictures_in(root)
    recommender = _recommender(results / dataset / f"{size}px" / trial, options, source, device, threads)

    out = results / "recommend"
    shown: list[Answers] = []
    most_shown, counts = max(1, min(options["shown"], ON_PAGE // options["k"])), Counter()
    with (
        atomic(out / "recommendations.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as table,
    ):
        writer = csv.writer(table, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        for queries, features in _embedded(recommender, root, files, skipped):
            answers = _answers(recommender, queries, features, options["k"])
            writer.writerows(_lines(answers))
            if counts.total() < most_shown:
                shown.append(answers)
            counts.update(answers.typicality)
        if not counts:
            first = f"the first, {printable(skipped[0][0])}: {skipped[0][1]}" if skipped else "it has no pictures"
            raise UserError(f"query {printable(str(root))}: no picture in it can be read; {first}")
    for kind, left_out in (("query", skipped), ("gallery", recommender.gallery.skipped)):
        for name, reason in left_out:
            log.warning("%s: left out %s: %s", kind, printable(name), reason)
    page = render(
        TEMPLATE,
        experiment=results.name,
        dataset=dataset,
        size=size,
        trial=trial,
        why=why,
        style=style,
        query=printable(root),
        total=counts.total(),
        counts=[(MARKS[each], each, counts[each]) for each in MARKS if counts[each]],
        queries=_shown_queries(recommender, root, shown, most_shown),
        skipped=[(printable(name), reason) for name, reason in skipped],
        k=shown[0].found.rows.shape[1],
        **_gallery_facts(recommender, shown[0].found.rows.shape[1]),
    )
    write_text(out / "recommendations.html", page)
    for each, count in counts.most_common():
        log.info("%d of %d: %s", count, counts.total(), each)
    log.info("recommendations for %d pictures are at %s", counts.total(), (out / "recommendations.html").resolve())


def _recommender(
    folder: Path, options: Mapping[str, Any], source: Mapping[str, str] | None, device: str, threads: int
) -> Recommender:
    root, label = options["gallery"], catalogue.parents
    if source and (not root or _same(root, source["path"])):
        root, label = source["path"], functools.partial(catalogue.classes, table=source["labels"])
    return Recommender(
        folder,
        Path(root).expanduser() if root else None,
        label=label,
        device=device,
        threads=threads,
        limit=options["approximate_above"],
        recall=options["recall"],
    )


def _same(a: str, b: str) -> bool:
    return Path(a).expanduser().resolve() == Path(b).expanduser().resolve()


def spelled(path: str | Path) -> str:
    """A path as it is in the CSV: with ./ before what a spreadsheet would calculate."""
    return f"./{path}" if str(path).startswith(FORMULA) else str(path)


def as_text(word: str) -> str:
    """An id or a label as it is in the CSV: with ' before what a spreadsheet would calculate, and before its own '.

    So who takes the first ' away has the word again.
    """
    return f"'{word}" if word.startswith((*FORMULA, "'")) else word


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


def _answers(recommender: Recommender, queries: list[str], features: np.ndarray, k: int) -> Answers:
    found = recommender.search(features, k)
    index = recommender.index(found.rows.shape[1])
    p = index.p_values(found.distances[:, 0])
    rounded = recommender.gallery.rounding * np.linalg.norm(features, axis=1)
    return Answers(
        queries, found, p, [*map(functools.partial(typicality, index.own), found.distances[:, 0], p, rounded)]
    )


def typicality(own: np.ndarray, distance: float, p: float, rounded: float = 0.0) -> str:
    """How a query compares with the gallery.

    Args:
        own: ascending distances of n gallery pictures to their nearest other one.
        distance: of the query to its nearest gallery picture.
        p: see `visrec.recommender.index.Index.p_values`; it is at least 1 / (n + 1).
        rounded: how far storing may have moved the features of a picture like the query.
    """
    apart = own[own > 0]  # pictures that are in the gallery twice say nothing about rounding
    if distance <= max(rounded, TOLERANCE * np.median(apart) if len(apart) else 0):
        return SAME
    if 1 / (len(own) + 1) >= LEVELS[-1][0]:
        return UNKNOWN
    return next((name for level, name in LEVELS if p < level), LIKE)


def _lines(answers: Answers) -> Iterator[tuple]:
    found = answers.found
    for row, query in enumerate(answers.queries):
        for rank, distance in enumerate(found.distances[row]):
            path = found.paths[row][rank]
            identity, label = as_text(str(found.ids[row, rank])), as_text(found.labels[row][rank])
            yield spelled(query), rank + 1, identity, spelled(path) if path else "", float(f"{distance:.7g}"), label


def _gallery_facts(recommender: Recommender, k: int) -> dict[str, Any]:
    """What the page says of the gallery: its name, how it was searched, and files that could not be read."""
    gallery, index = recommender.gallery, recommender.index(k)
    return {
        "gallery": printable(gallery.name),
        "searched": index.describe(),
        "sample": f"{len(index.own):,}",
        "gallery_skipped": [(printable(name), reason) for name, reason in gallery.skipped],
    }


def _shown_queries(recommender: Recommender, root: Path, answers: Sequence[Answers], most: int) -> list[dict[str, Any]]:
    """The first queries, at most so many, as the page shows them."""
    base = root if root.is_dir() else root.parent
    shown = [(part, row) for part in answers for row in range(len(part.queries))][:most]
    gallery_rows = {int(each) for part, row in shown for each in part.found.rows[row, :ON_PAGE]}
    pictures_of = dict(_answer_pictures(recommender, sorted(gallery_rows)))
    return [
        {
            "name": printable(Path(part.queries[row]).relative_to(base)),
            "picture": _picture(_small(Path(part.queries[row]), QUERY_SIDE)),
            "typicality": part.typicality[row],
            "mark": MARKS[part.typicality[row]],
            "p": f"{part.p[row]:.3f}",
            "answers": [
                {
                    "picture": pictures_of[int(gallery_row)],
                    "distance": f"{distance:#.4g}",
                    **_names(recommender.gallery, int(gallery_row)),
                }
                for gallery_row, distance in zip(
                    part.found.rows[row, :ON_PAGE], part.found.distances[row, :ON_PAGE], strict=True
                )
            ],
        }
        for part, row in shown
    ]


def _names(gallery: Gallery, row: int) -> dict[str, Any]:
    """The name of a gallery picture, other paths of the same file, and its label."""
    paths = [printable(path) for path in gallery.paths[row]]
    name = paths[0] if paths else printable(gallery.ids[row])
    return {"name": name, "others": paths[1:], "label": printable(gallery.labels[row])}


def _answer_pictures(recommender: Recommender, rows: Sequence[int]) -> Iterable[tuple[int, dict[str, Any] | None]]:
    """Thumbnails of gallery pictures by their row, from their files or from images.h5."""
    gallery = recommender.gallery
    if gallery.root is not None:
        for row in rows:
            yield row, _picture(_small(gallery.root / gallery.paths[row][0], ANSWER_SIDE))
        return
    with reading(recommender.images, IMAGES) as file:
        for row in rows:
            yield row, _picture(Image.fromarray(np.moveaxis(file["train/images"][row], 0, 2)))


def _small(path: Path, side: int) -> Image.Image | None:
    try:
        return pictures.thumbnail(path, side)
    except pictures.PictureError as error:  # it could be read before, so its file has changed since
        log.warning("no picture on the page of %s", printable(str(error)))
        return None


def _picture(image: Image.Image | None) -> dict[str, Any] | None:
    """A data: URI, and the size to show it at: small pictures are enlarged by a whole number."""
    if image is None:
        return None
    times = max(1, math.floor(ANSWER_SIDE / max(image.size)))
    return {
        "uri": sheets.data_uri(sheets.webp(image, QUALITY), "image/webp"),
        "width": times * image.width,
        "height": times * image.height,
        "coarse": times > 1,
    }
