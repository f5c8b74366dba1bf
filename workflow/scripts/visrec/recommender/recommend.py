"""The nearest gallery pictures of anyone's photos: a CSV file, and a page to look at."""

import csv
import functools
import importlib.resources
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from visrec.data import pictures
from visrec.data.files import atomic, write_text
from visrec.data.hdf5 import IMAGES, reading
from visrec.errors import UserError
from visrec.recommender import catalogue
from visrec.recommender.catalogue import Gallery, printable
from visrec.recommender.choice import choose
from visrec.recommender.recommender import Found, Recommender
from visrec.report import sheets, style

log = logging.getLogger(__name__)

COLUMNS = ("query", "rank", "id", "path", "distance", "label")
CHUNK = 4096  # queries in memory at once
ON_PAGE = 1000  # recommendations on the page: at 3 kB or so each, a few MB
ASKED, ANSWER = 160, 112  # longer sides on the page, pixels
QUALITY = 72  # of WebP
TOLERANCE = 1e-4  # of the median distance between neighbours: what rounding makes of equal features is a tenth of it
FORMULA = "=+-@\t\r"  # what a spreadsheet calculates when a cell begins with it

LIKE, UNUSUAL, UNLIKE = "looks like the gallery", "unusual", "unlike anything in the gallery"
SAME, UNKNOWN = "same features as a gallery picture", "gallery too small to tell"
MARKS = {LIKE: "●", UNUSUAL: "◐", UNLIKE: "○", SAME: "=", UNKNOWN: "·"}
LEVELS = ((0.01, UNLIKE), (0.05, UNUSUAL))


@dataclass(frozen=True)
class Answers:
    """Some queries and what was found.

    Attributes:
        queries: their paths.
        found: their neighbours.
        p: float64 (Q,), see `visrec.recommender.index.Index.p_values`.
        words: how each query compares with the gallery.
    """

    queries: list[str]
    found: Found
    p: np.ndarray
    words: list[str]


def recommend(
    results_dir: str | Path,
    query: str | Path,
    options: Mapping[str, Any],
    dataset: str,
    size: int,
    planned: tuple[str, str] | None,
    trials: Sequence[Mapping[str, Any]],
    source: Mapping[str, str] | None,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Write recommend/recommendations.csv and .html of all pictures in `query`.

    The CSV has a line per query and rank: query, rank (1..k), id, path, distance (L2), label. Its text is what the file
    names are, in quotes; a path that a spreadsheet would take for a formula begins with ./, which names the same file.

    Args:
        results_dir: results/{experiment}.
        query: a folder of pictures, or one.
        options: the config's `recommend`.
        dataset: whose trial recommends.
        size: of its pictures.
        planned: encoder/trial that recommends, and why; None: the leaderboard, which was not there yet, chooses now.
        trials: dicts as for `visrec.recommender.choice.choose`, to choose from.
        source: `path` and `labels` of the dataset where it is a folder of pictures, else None.
        device: "auto", "cpu" or "cuda".
        threads: that decode and search.

    Raises:
        UserError: no query can be read, there is no gallery, or the trial cannot embed new pictures.
    """
    results, root = Path(results_dir), Path(query).expanduser()
    place = results / dataset / f"{size}px"
    folder, why = planned or choose(results / "tables/leaderboard.csv", trials, dataset, size)
    log.info("trial %s of %s at %d px: %s", folder, dataset, size, why)
    files, skipped = catalogue.pictures_in(root)
    recommender = _recommender(place / folder, options, source, device, threads)

    out = results / "recommend"
    shown: list[Answers] = []
    room, counts = max(1, min(options["shown"], ON_PAGE // options["k"])), Counter()
    with (
        atomic(out / "recommendations.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as table,
    ):
        writer = csv.writer(table, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        for queries, features in _embedded(recommender, root, files, skipped):
            answers = _answers(recommender, queries, features, options["k"])
            writer.writerows(_lines(answers))
            if counts.total() < room:
                shown.append(answers)
            counts.update(answers.words)
        if not counts:
            first = f"the first, {printable(skipped[0][0])}: {skipped[0][1]}" if skipped else "it has no pictures"
            raise UserError(f"query {printable(str(root))}: no picture in it can be read; {first}")
    here = recommender.gallery
    for kind, lost in (("query", skipped), ("gallery", here.skipped)):
        for name, reason in lost:
            log.warning("%s: left out %s: %s", kind, printable(name), reason)
    about = {"folder": folder, "why": why, "dataset": dataset, "size": size, "experiment": results.name}
    page = _page(recommender, root, shown, room, counts, skipped, about)
    write_text(out / "recommendations.html", page)
    for word, count in counts.most_common():
        log.info("%d of %d: %s", count, counts.total(), word)
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


def _same(one: str, other: str) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def spelled(path: str | Path) -> str:
    """A path as it stands in the CSV: ./ before what a spreadsheet would calculate."""
    return f"./{path}" if str(path).startswith(tuple(FORMULA)) else str(path)


def _embedded(
    recommender: Recommender, root: Path, files: Sequence[str], skipped: list[tuple[str, str]]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Paths and features (n, D) of the queries that can be read; the others are added to `skipped`."""
    base = root if root.is_dir() else root.parent
    items = [(name, base / name) for name in files]
    paths: list[str] = []
    vectors: list[np.ndarray] = []
    made = catalogue.embedded(
        items, recommender.size, recommender.features, recommender.threads, "embedding the queries"
    )
    for (name, path), (vector, reason) in zip(items, made, strict=True):
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
    return Answers(queries, found, p, [*map(functools.partial(word, index.own), found.distances[:, 0], p, rounded)])


def word(own: np.ndarray, distance: float, p: float, rounded: float = 0.0) -> str:
    """How a query compares with the gallery.

    Args:
        own: ascending distances of n gallery pictures to their nearest other one.
        distance: of the query to its nearest gallery picture.
        p: see `visrec.recommender.index.Index.p_values`; it is at least 1 / (n + 1).
        rounded: how far storing may have moved the features of a picture like the query.
    """
    apart = own[own > 0]  # pictures that lie in the gallery twice say nothing on rounding
    if distance <= max(rounded, TOLERANCE * np.median(apart) if len(apart) else 0):
        return SAME
    if 1 / (len(own) + 1) >= LEVELS[-1][0]:
        return UNKNOWN
    return next((what for level, what in LEVELS if p < level), LIKE)


def _lines(answers: Answers) -> Iterator[tuple]:
    found = answers.found
    for row, query in enumerate(answers.queries):
        for rank, distance in enumerate(found.distances[row]):
            path = found.paths[row][rank]
            identity, label = str(found.ids[row, rank]), found.labels[row][rank]
            yield spelled(query), rank + 1, identity, spelled(path) if path else "", float(f"{distance:.7g}"), label


def _page(
    recommender: Recommender,
    root: Path,
    shown: Sequence[Answers],
    room: int,
    counts: Mapping[str, int],
    skipped: Sequence[tuple[str, str]],
    about: Mapping[str, Any],
) -> str:
    here = recommender.gallery
    index = recommender.index(shown[0].found.rows.shape[1])
    base = root if root.is_dir() else root.parent
    chosen = [(answers, row) for answers in shown for row in range(len(answers.queries))][:room]
    rows = {int(each) for answers, row in chosen for each in answers.found.rows[row, :ON_PAGE]}
    seen = dict(_answer_pictures(recommender, sorted(rows)))
    queries = [
        {
            "name": printable(str(Path(answers.queries[row]).relative_to(base))),
            "picture": _picture(_small(Path(answers.queries[row]), ASKED)),
            "word": answers.words[row],
            "mark": MARKS[answers.words[row]],
            "p": f"{answers.p[row]:.3f}",
            "answers": [
                {
                    "picture": seen[int(answers.found.rows[row, rank])],
                    "distance": f"{distance:#.4g}",
                    **_names(here, int(answers.found.rows[row, rank])),
                }
                for rank, distance in enumerate(answers.found.distances[row, :ON_PAGE])
            ],
        }
        for answers, row in chosen
    ]
    folder = importlib.resources.files("visrec.recommender") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(folder)), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("recommendations.html").render(
        **about,
        style=style,
        query=printable(str(root)),
        gallery=printable(here.name),
        searched=index.describe(),
        sample=f"{len(index.own):,}",
        total=sum(counts.values()),
        counts=[(MARKS[what], what, counts[what]) for what in MARKS if counts.get(what)],
        k=shown[0].found.rows.shape[1],
        queries=queries,
        skipped=[(printable(name), reason) for name, reason in skipped],
        lost=[(printable(name), reason) for name, reason in here.skipped],
    )


def _names(here: Gallery, row: int) -> dict[str, Any]:
    paths = [printable(path) for path in here.paths[row]]
    name = paths[0] if paths else printable(str(here.ids[row]))
    return {"name": name, "others": paths[1:], "label": printable(here.labels[row])}


def _answer_pictures(recommender: Recommender, rows: Sequence[int]) -> Iterable[tuple[int, dict[str, Any] | None]]:
    """What the page shows of gallery pictures: from their files, or from images.h5."""
    here = recommender.gallery
    if here.root is not None:
        for row in rows:
            yield row, _picture(_small(here.root / here.paths[row][0], ANSWER))
        return
    with reading(recommender.images, IMAGES) as file:
        for row in rows:
            yield row, _picture(Image.fromarray(np.moveaxis(file["train/images"][row], 0, 2)))


def _small(path: Path, side: int) -> Image.Image | None:
    try:
        return pictures.thumbnail(path, side)
    except pictures.PictureError as error:  # it was read before: someone has changed it since
        log.warning("no picture on the page of %s", printable(str(error)))
        return None


def _picture(image: Image.Image | None) -> dict[str, Any] | None:
    """A data: URI, and the size to show it in: small ones larger, in whole steps."""
    if image is None:
        return None
    times = max(1, math.floor(ANSWER / max(image.size)))
    return {
        "uri": sheets.data_uri(sheets.webp(image, QUALITY), "image/webp"),
        "width": times * image.width,
        "height": times * image.height,
        "coarse": times > 1,
    }
