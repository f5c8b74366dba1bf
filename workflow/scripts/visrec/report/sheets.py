"""Samples and reconstructions of the trained trials, small enough for one page.

The chosen trials' sheets are shown as they are. The others share what is left of `BYTES`: first quality goes, then rows
of pictures and their size, and the page says so.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from visrec.errors import UserError
from visrec.report.draws import folder

KINDS = ("samples", "reconstructions")
QUALITY = 88  # of WebP
BYTES = 3_000_000  # of all sheets of a page but the chosen ones; as text in the page a third more
# what is tried in turn: (quality, share of the sheet's rows, scale of the pictures, about how large beside the first)
STEPS = (
    (QUALITY, 1.0, 1.0, 1.0),
    (70, 1.0, 1.0, 0.6),
    (70, 0.5, 1.0, 0.3),
    (70, 0.5, 0.5, 0.1),
    (50, 0.5, 0.5, 0.07),
    (50, 0.25, 0.5, 0.035),
    (30, 0.25, 0.5, 0.025),
)


def data_uri(content: bytes, kind: str) -> str:
    """A data: URI of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def webp(image: Image.Image, quality: int = QUALITY) -> bytes:
    """A picture as WebP."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def sheet(path: Path, most: float, expected: float = 0.0) -> dict[str, Any] | None:
    """A sheet of pictures and its size; None where there is none.

    Args:
        path: a picture.
        most: bytes that it may take; the last of `STEPS` may take more.
        expected: bytes that the first of `STEPS` is likely to take; steps that are hopeless then are not tried.

    Returns:
        uri, width, height, cut: whether rows are left out or pictures are smaller, and whole: the bytes that the first
        of `STEPS` took or would take.

    Raises:
        UserError: the file is not a picture.
    """
    if not path.exists():
        return None
    try:
        with Image.open(path) as image:
            whole = image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{path}: is not a picture; delete it and run again") from error
    for quality, rows, scale, beside in STEPS:
        if expected * beside > 1.2 * most and beside != STEPS[-1][-1]:
            continue
        part = whole.crop((0, 0, whole.width, max(1, round(whole.height * rows))))
        part = part if scale == 1 else part.resize([max(1, round(side * scale)) for side in part.size])
        content = webp(part, quality)
        expected = len(content) / beside
        if len(content) <= most:
            break
    return {
        "whole": expected,
        "uri": data_uri(content, "image/webp"),
        "width": part.width,
        "height": part.height,
        "cut": (rows, scale) != (1, 1),
    }


def share(trials: Sequence[Mapping[str, Any]]) -> float:
    """Bytes that one sheet of a trial that was not chosen may take, of all trials of the page."""
    return BYTES / max(1, len(KINDS) * sum(trial["stage"] == "train" for trial in trials))


def sheets(results_dir: Path, chapter: Mapping[str, Any], most: float) -> list[dict[str, Any]]:
    """Samples and reconstructions of a chapter's trained trials, the chosen ones first; `most` is from `share`."""
    cards, expected = [], 0.0
    for trial in chapter["trials"]:
        if trial["stage"] != "train":
            continue
        where = folder(results_dir, trial)
        status, reason = chapter["states"][trial["encoder"], trial["trial"]]
        chosen = chapter["shown"].get(trial["encoder"]) == trial["trial"]
        found = {}
        for kind in KINDS:
            found[kind] = sheet(where / f"{kind}.png", math.inf if chosen else most, 0.0 if chosen else expected)
            expected = found[kind]["whole"] if found[kind] else expected
        about = {key: trial[key] for key in ("encoder", "trial")} | {"status": status, "reason": reason}
        cut = any(one and one["cut"] for one in found.values())
        cards.append(about | found | {"shown": chosen, "cut": cut})
    return sorted(cards, key=lambda card: not card["shown"])
