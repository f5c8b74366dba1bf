"""What encoders draw of their trials, such as samples and reconstructions, small enough for one page.

The chosen trials' sheets are shown as they are. The others share what is left of `BYTES`: first quality goes, then rows
of pictures and their size, and the page says so.
"""

import base64
import io
import math
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from visrec.errors import UserError
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.inputs import State

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

# What Pillow raises where a PNG is damaged.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


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
    except DAMAGE as error:  # UnidentifiedImageError is an OSError
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


def bytes_per_sheet(trials: Iterable[Trial]) -> float:
    """Bytes that one sheet of a trial that was not chosen may take, of all trials of the page."""
    return BYTES / max(1, sum(len(layout.picture_kinds(trial)) for trial in trials))


def sheets(
    experiment: Experiment, states: Mapping[str, State], shown: Mapping[str, str], most: float
) -> list[dict[str, Any]]:
    """The sheets of those trials of which something is drawn, the chosen ones first.

    Args:
        experiment: with the trials of one dataset and size.
        states: of each trial, by its folder.
        shown: encoder -> name of its chosen trial.
        most: from `bytes_per_sheet`.

    Returns:
        encoder, trial, status, reason, shown (whether it is the chosen one), cut, and `pictures`: kind -> from `sheet`.
    """
    cards, expected = [], 0.0
    for trial in experiment.trials:
        kinds = layout.picture_kinds(trial)
        if not kinds:
            continue
        chosen = shown.get(trial.encoder) == trial.name
        found = {}
        for kind in kinds:
            path = experiment.path(trial, layout.picture(kind))
            found[kind] = sheet(path, math.inf if chosen else most, 0.0 if chosen else expected)
            expected = found[kind]["whole"] if found[kind] else expected
        about = {"encoder": trial.encoder, "trial": trial.name} | states[trial.folder]._asdict()
        cut = any(one and one["cut"] for one in found.values())
        cards.append(about | {"pictures": found, "shown": chosen, "cut": cut})
    return sorted(cards, key=lambda card: not card["shown"])
