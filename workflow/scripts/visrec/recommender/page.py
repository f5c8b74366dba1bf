"""The page of recommendations: one HTML file that needs nothing else, and is complete without JavaScript."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visrec.data import pictures
from visrec.data.hdf5 import IMAGES, reading
from visrec.errors import printable
from visrec.experiment import layout
from visrec.recommender.answers import Answer
from visrec.recommender.catalogue import Gallery
from visrec.recommender.likeness import MARKS, in_words
from visrec.recommender.recommender import Recommender
from visrec.report import sheets, style
from visrec.report.rendering import render

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "templates" / "recommendations.html"
COMPARED = {
    ("raw", "l2"): "L2 between features",
    ("raw", "cosine"): "L2 between features brought to length 1, which rank as cosine does",
    ("output", "l2"): "L2 between the network’s outputs",
    ("output", "cosine"): "L2 between the network’s outputs brought to length 1, which rank as cosine does",
}
ON_PAGE = 1000  # recommendations on the page at most: at about 3 kB each, a few MB
QUERY_SIDE, ANSWER_SIDE = 160, 112  # longer sides of pictures on the page, pixels
QUALITY = 72  # of WebP


def page(
    recommender: Recommender,
    query: Path,
    shown: Sequence[Answer],
    counts: Mapping[str, int],
    facts: Mapping[str, Any],
) -> str:
    """The page, as HTML.

    Args:
        recommender: that answered.
        query: the folder of queries, or one picture.
        shown: the first queries and their answers, at least one.
        counts: typicality -> number of all queries; `itself` -> how many are in the gallery themselves.
        facts: experiment, dataset, size, trial, why, tested and k; `results`, the experiment's folder; and `skipped`,
            (name, reason) of files that could not be read.
    """
    gallery = recommender.gallery
    index = recommender.index(min(facts["k"] + 1, len(gallery.ids)))  # as `visrec.recommender.answers` asked
    queries = _queries(recommender, query, shown)
    return render(
        TEMPLATE,
        **{name: value for name, value in facts.items() if name not in ("results", "skipped")},
        report=f"../{layout.PAGE}" if (facts["results"] / layout.PAGE).exists() else "",
        style=style,
        query=printable(query),
        total=sum(counts[each] for each in MARKS),
        counts=[(MARKS[each], each, counts[each]) for each in MARKS if counts[each]],
        themselves=counts["itself"],
        queries=queries,
        classes=sorted({answer["label"] for asked in queries for answer in asked["answers"]} - {""}),
        gallery=printable(gallery.name),
        compared=COMPARED[recommender.space],
        searched=index.describe(),
        sample=f"{len(index.own):,}",
        skipped=by_reason(facts["skipped"]),
        gallery_skipped=by_reason(gallery.skipped),
    )


def by_reason(skipped: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Names of files that could not be read by reason, the commonest reason first; names are printable."""
    found: dict[str, list[str]] = {}
    for name, reason in skipped:
        found.setdefault(reason, []).append(printable(name))
    return sorted(found.items(), key=lambda each: (-len(each[1]), each[0]))


def _queries(recommender: Recommender, root: Path, shown: Sequence[Answer]) -> list[dict[str, Any]]:
    """The queries as the page shows them."""
    base = root if root.is_dir() else root.parent
    gallery_rows = {int(row) for answer in shown for row in answer.rows[:ON_PAGE]}
    pictures_of = dict(_answer_pictures(recommender, sorted(gallery_rows)))
    return [
        {
            "name": printable(Path(answer.query).relative_to(base)),
            "picture": _picture(_small(Path(answer.query), QUERY_SIDE)),
            "typicality": answer.typicality,
            "mark": MARKS[answer.typicality],
            "itself": "" if answer.itself is None else _names(recommender.gallery, answer.itself)["name"],
            "answers": [
                {
                    "picture": pictures_of[int(row)],
                    "distance": f"{distance:#.4g}",
                    "closer": in_words(closer),
                    **_names(recommender.gallery, int(row)),
                }
                for row, distance, closer in zip(
                    answer.rows[:ON_PAGE], answer.distances[:ON_PAGE], answer.closer[:ON_PAGE], strict=True
                )
            ],
        }
        for answer in shown
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
