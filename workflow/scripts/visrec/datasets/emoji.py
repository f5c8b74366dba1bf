"""Emoji: the same 1,911 things drawn by two artists, Noto Emoji and Twemoji, 64x64 px each.

Source: emoji-datasource 16.0.0 by Cal Henderson (code and tables: MIT), which packs Google's Noto Emoji (Apache-2.0)
and Twemoji (graphics: CC-BY 4.0, copyright Twitter, Inc and other contributors) as PNG files with one table of names
and categories. Both archives are packages for npm, which fetches and checks them by name; the SHA-256 are of what
`npm pack` wrote after its own check.

The question is whether a picture finds the same thing drawn by the other hand: the gallery has each emoji once, and the
queries are its other pictures. Skin tones are variations of an emoji and stay out.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visrec.data import archives as archive_files
from visrec.data import pictures, splits
from visrec.data.images import ImageSet, ImageSource
from visrec.errors import UserError

OPTIONS: dict[str, Any] = {
    "label": {
        "enum": ["category", "subcategory", "identity"],
        "default": "category",
        "description": "What makes a class: one of 10 categories, of 99 subcategories, or each emoji.",
    },
    "gallery": {
        "enum": ["noto", "twemoji", "mixed"],
        "default": "noto",
        "description": "Whose pictures are train, the other's being the queries; mixed: of each emoji one, drawn.",
    },
    "val": {
        "type": "integer",
        "minimum": 1,
        "default": 400,
        "description": "Different drawings that ask in val, their copies with them; all others ask in test.",
    },
}
ARCHIVES: dict[str, dict[str, Any]] = {
    "emoji-datasource-google-16.0.0.tgz": {
        "command": "npm pack emoji-datasource-google@16.0.0",
        "bytes": 74344091,
        "checksum": "sha256:fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    },
    "emoji-datasource-twitter-16.0.0.tgz": {
        "command": "npm pack emoji-datasource-twitter@16.0.0",
        "bytes": 61683754,
        "checksum": "sha256:f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    },
}
HANDS = {"noto": "google", "twemoji": "twitter"}  # artist -> what the archives call it, in their order above
TABLE = "package/emoji.json"
TEXTS = ("image", "short_name", "category", "subcategory")
SPLIT_SEED, HAND_SEED = 0, 1  # two draws that do not depend on each other


def read(size: int, options: Mapping[str, Any], archives: Mapping[str, Path], threads: int) -> ImageSet:
    """One picture of each emoji as train, the other hand's as val and test.

    Args:
        size: S, pixels.
        options: see OPTIONS.
        archives: the two files, verified.
        threads: that decode.

    Raises:
        UserError: an archive is damaged or has other content, they are of two versions, or there are too few emoji.
    """
    paths = dict(zip(HANDS, (archives[name] for name in ARCHIVES), strict=True))
    emoji = _emoji(paths)
    found = {hand: _pictures(path, HANDS[hand], emoji) for hand, path in paths.items()}
    in_gallery = _hands_of_gallery(options["gallery"], len(emoji))
    other = 1 - in_gallery
    queries = [found[list(HANDS)[hand]][each["image"]] for hand, each in zip(other, emoji, strict=True)]
    asked = _asked(queries, [each["category"] for each in emoji], options["val"], paths["noto"])
    labels, classes = _labels(options["label"], emoji)
    parts = {}
    for split, rows, hand in (
        ("train", np.arange(len(emoji)), in_gallery),
        *((*each, other) for each in asked.items()),
    ):
        drawn = [(list(HANDS)[hand[row]], emoji[row]["image"]) for row in rows]
        items = [(f"{paths[name]}: {image}", found[name][image]) for name, image in drawn]
        parts[split] = ImageSource(
            pictures.decoded(items, size, threads, remedy="fetch the archive again", label=split),
            labels[rows],
            np.array([f"{name}/{image.removesuffix('.png')}" for name, image in drawn]),
            identity=rows,
        )
    gallery = "one picture of each emoji, from either hand at random (seed 1)"
    if options["gallery"] in HANDS:
        gallery = f"each emoji as {options['gallery']} draws it"
    return ImageSet(
        parts,
        classes=classes,
        split_rule=f"train: {gallery}; val and test: the same emoji by the other hand, {len(asked['val']):,} and "
        f"{len(asked['test']):,}, no drawing in both, stratified by category, drawn once with seed 0",
        source="Noto Emoji (Google, Apache-2.0) and Twemoji (Twitter and contributors, CC-BY 4.0), as packed by "
        "emoji-datasource 16.0.0",
    )


def _asked(queries: list[bytes], categories: list[str], val: int, source: Path) -> dict[str, np.ndarray]:
    """Which emoji ask in val and which in test; row numbers, ascending.

    Drawn are different drawings, and equal ones (Twemoji has one for ten families) follow: what chooses on val must not
    have seen test. By category whatever the label: the splits must not depend on it.
    """
    first: dict[bytes, int] = {}
    drawing = np.array([first.setdefault(data, row) for row, data in enumerate(queries)])
    different = np.unique(drawing)
    category = np.unique(categories, return_inverse=True)[1][different]
    sizes = {"val": val, "test": max(len(different) - val, 1)}
    drawn = splits.stratified(category, sizes, SPLIT_SEED, source=str(source))
    return {split: np.flatnonzero(np.isin(drawing, different[rows])) for split, rows in drawn.items()}


def _hands_of_gallery(gallery: str, count: int) -> np.ndarray:
    """Whose picture of each emoji is in the gallery: int64 (count,), 0 or 1, in the order of `HANDS`."""
    if gallery in HANDS:
        return np.full(count, list(HANDS).index(gallery))
    halves = {"noto": count - count // 2, "twemoji": count // 2}
    hands = np.zeros(count, np.int64)
    hands[splits.stratified(np.zeros(count, np.int64), halves, HAND_SEED)["twemoji"]] = 1
    return hands


def _labels(label: str, emoji: list[dict[str, Any]]) -> tuple[np.ndarray, list[str]]:
    """Class of each emoji, int64 (N,), and the names of the classes."""
    if label == "identity":
        return np.arange(len(emoji)), [f"{each['short_name']} ({each['image'].removesuffix('.png')})" for each in emoji]
    names, labels = np.unique([each[label] for each in emoji], return_inverse=True)
    return labels.astype(np.int64), names.tolist()


def _emoji(paths: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The entries of emoji.json that both artists have drawn, in its order.

    Raises:
        UserError: a table is missing or of another form, the two differ, or no emoji was drawn by both.
    """
    tables = {hand: archive_files.read_tar(path, [TABLE]).get(TABLE) for hand, path in paths.items()}
    for hand, table in tables.items():
        if table is None:
            raise UserError(f"{paths[hand]}: has no member '{TABLE}'; run `npm pack` again")
    first, second = paths.values()
    if len(set(tables.values())) > 1:
        raise UserError(f"{second}: its emoji.json is not that of {first}; run `npm pack` for the same version of both")
    entries = _parsed(f"{first}: emoji.json", tables["noto"])
    drawn = [each for each in entries if all(each[f"has_img_{kind}"] for kind in HANDS.values())]
    if not drawn:
        raise UserError(f"{first}: emoji.json names no emoji that both artists have drawn; run `npm pack` again")
    return drawn


def _parsed(where: str, table: bytes) -> list[dict[str, Any]]:
    """The entries of an emoji.json, checked."""
    try:
        entries = json.loads(table)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: is not JSON ({reason}); run `npm pack` again") from error
    if not isinstance(entries, list):
        raise UserError(f"{where}: is not a list of emoji; run `npm pack` again")
    seen: set[str] = set()
    for number, each in enumerate(entries):
        if not isinstance(each, dict):
            raise UserError(f"{where}: entry {number} is not an object; run `npm pack` again")
        for key in TEXTS:
            if not isinstance(each.get(key), str) or not each[key] or not each[key].isprintable():
                raise UserError(f"{where}: entry {number} has no text '{key}'; run `npm pack` again")
        for key in (f"has_img_{kind}" for kind in HANDS.values()):
            if not isinstance(each.get(key), bool):
                raise UserError(f"{where}: entry {number} does not say true or false for '{key}'; run `npm pack` again")
        if not re.fullmatch(r"[0-9a-f]+(-[0-9a-f]+)*\.png", each["image"]):  # it becomes part of a member's name
            raise UserError(f"{where}: entry {number} has a strange 'image', {each['image']!r}; run `npm pack` again")
        if each["image"] in seen:
            raise UserError(f"{where}: names '{each['image']}' twice; run `npm pack` again")
        seen.add(each["image"])
    return entries


def _pictures(path: Path, kind: str, emoji: list[dict[str, Any]]) -> dict[str, bytes]:
    """The PNG files of all emoji by their names, as bytes; a few megabytes."""
    wanted = {f"package/img/{kind}/64/{each['image']}": each["image"] for each in emoji}
    found = archive_files.read_tar(path, wanted)
    for member in wanted:
        if member not in found:
            raise UserError(f"{path}: has no member '{member}', which emoji.json promises; run `npm pack` again")
    return {wanted[member]: data for member, data in found.items()}
