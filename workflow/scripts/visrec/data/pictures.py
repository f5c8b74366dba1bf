"""Decode picture files, many at a time and in order, into uint8 arrays of one size.

Pillow releases Python's global interpreter lock while it decompresses and resizes, but small pictures spend most of
their time outside that: many are decoded by processes, which use all the cores of a job. Few are not worth their start.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from visrec.data.orientation import TURNS, orientation
from visrec.data.stripped import stripped
from visrec.errors import UserError, printable
from visrec.jobs import progress
from visrec.jobs.processes import processes

# Only these: other readers of Pillow call external programs (EPS) or accept almost any bytes as a picture (TGA).
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".ico"}
)
MAX_PIXELS = 89_478_485  # of one picture, where Pillow begins to warn of decompression bombs: 256 MiB of RGB
MAX_BYTES = 2**29  # of a picture's file: no more is read into memory
TOO_LARGE = f"has more than {MAX_PIXELS:,} pixels, which may be a decompression bomb"

BATCH = 256  # pictures in a batch at most
BATCH_BYTES = 2**23  # size of a batch at most
TASK = 16  # pictures that a worker decodes at a time
ENDED = "a process that decodes pictures was ended from outside; give the job more memory, or one thread"
MANY = 10_000  # pictures for which processes are worth their start, a second or so

HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands of a file of boxes
UNREAD = {  # whatever their suffixes say
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n"),
    "a PDF": (b"%PDF-",),
    "a Photoshop file": (b"8BPS",),
}

Source = Path | bytes | Callable[[], bytes]


class PictureError(UserError):
    """A file cannot be read as a picture.

    Attributes:
        name: which.
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.name, self.reason)  # to another process and back


def decode(source: Source, size: int, crop: tuple[int, int] | None = None, name: str = "picture") -> np.ndarray:
    """Read one picture and resize it to size x size, without keeping its aspect ratio.

    In this order: the first frame is taken, rotated as its EXIF orientation says, put on a white background where it is
    transparent, converted to 8-bit RGB (grey of 16 bits as round(v / 257)), and resized with Pillow's bilinear filter,
    the one of `torchvision.transforms.Resize` on Pillow images. Colour profiles are not applied.

    Args:
        source: a file, its bytes, or a function that returns them.
        size: S, pixels.
        crop: (height, top): resize to S wide and `height` high, then keep S rows from row `top`.
        name: of the picture in an error message, if it is not a path.

    Returns:
        uint8 (3, S, S), RGB.

    Raises:
        PictureError: the file is missing, empty, no picture, damaged, or has more than `MAX_PIXELS` pixels or, of a
            path, `MAX_BYTES` bytes.
    """
    name = str(source) if isinstance(source, Path) else name
    height, top = crop or (size, 0)
    with _opened(source, name) as picture:
        resized = _upright(picture, name).resize((size, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)[top : top + size].transpose(2, 0, 1)


@contextmanager
def _opened(source: Source, name: str) -> Iterator[Image.Image]:
    """Open a picture; whatever goes wrong while it is open is that picture's fault.

    Pillow's readers raise errors of almost any type on damaged bytes, so a list of types would never be complete.
    Ctrl-C is no `Exception`, and signals that ask for a stop end in a `UserError`: both pass.
    """
    data = b""
    try:
        data = _read(source, name)
        if not data:
            raise PictureError(name, "is empty (0 bytes)")
        with Image.open(BytesIO(stripped(data)), formats=_formats()) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(name, TOO_LARGE)
            yield picture
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(name, _kind_unread(data)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(name, TOO_LARGE) from error
    except Exception as error:
        raise PictureError(name, f"cannot be decoded: {_words(error)}") from error


def _read(source: Source, name: str) -> bytes:
    try:
        if isinstance(source, PictureError):  # found by who asked
            raise source
        if isinstance(source, Path):
            if heavy := too_heavy(source.stat().st_size):
                raise PictureError(name, heavy)
            return source.read_bytes()
        return source() if callable(source) else source
    except UserError:
        raise
    except Exception as error:
        reason = f"cannot be opened: {getattr(error, 'strerror', None) or _words(error)}"
        raise PictureError(name, reason) from error


def too_heavy(size: int) -> str:
    """Why a file of so many bytes is not read, "" if it is."""
    return f"has {size / 2**20:,.0f} MB; a picture has at most {MAX_BYTES // 2**20}" if size > MAX_BYTES else ""


def _kind_unread(data: bytes) -> str:
    """What a file is that no reader knows, as far as its first bytes tell."""
    if data[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, not a picture"
    kind = next((kind for kind, begins in UNREAD.items() if data.startswith(begins)), None)
    if data[4:8] == b"ftyp" and data[8:12] in HEIC:
        kind = "HEIC"
    return f"is {kind}, which is not read; save it as JPEG" if kind else "is not a picture of a known format"


def _words(error: Exception) -> str:
    return printable(" ".join(str(error).split())) or type(error).__name__


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [each for each in FORMATS if each in Image.OPEN]  # AVIF came with Pillow 11.3


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """The picture as 8-bit RGB, on a white background, rotated as EXIF says."""
    picture.load()  # first, as some formats have their EXIF after the pixels
    turn = TURNS.get(orientation(picture))
    rgb = _rgb(picture, name)
    return rgb if turn is None else rgb.transpose(turn)


def _rgb(picture: Image.Image, name: str) -> Image.Image:
    """The picture as 8-bit RGB, on a white background."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format != "TIFF"):
        # Pillow itself would clip these at 255. Where it reads them as "I" the values still have 16 bits.
        values = np.asarray(picture).astype(np.int32)  # and no other copy: it may have a hundred million pixels
        transparent = picture.info.get("transparency")
        clear = np.flatnonzero(values == transparent) if isinstance(transparent, int) else []
        values += 128
        values //= 257
        grey = values.clip(0, 255, out=values).astype(np.uint8)
        grey.put(clear, 255)
        return Image.fromarray(grey).convert("RGB")
    if picture.mode in ("I", "F"):
        raise PictureError(name, "has 32-bit values of no known range; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def decoded(
    items: Iterable[tuple[str, Source]],
    size: int,
    threads: int,
    *,
    crop: tuple[int, int] | None = None,
    broken: list[tuple[int, str]] | None = None,
    remedy: str = "replace or remove it, or set `on_error: skip`",
    label: str = "decoding",
) -> Iterator[np.ndarray]:
    """Decode pictures, some at once; yield them in order, in batches.

    Only a few batches are decoded ahead of the one that was yielded last, and `items` is consumed at the same pace: the
    memory needed does not grow with the number of pictures. `MANY` and more are decoded by processes, if `items` says
    how many they are; what functions return is then read here.

    Args:
        items: (name, source) of each picture.
        size: S, pixels.
        threads: how many are decoded at once.
        crop: see `decode`.
        broken: gets (row, reason) of each picture that cannot be read, before its batch is yielded; its pixels are
            zeros. None: such a picture is an error.
        remedy: what to do about such a picture, the end of the error message.
        label: of the progress bar.

    Yields:
        uint8 (n, 3, S, S), RGB; n is at most `BATCH`.

    Raises:
        UserError: a picture cannot be read and `broken` is None, or a process that decodes was killed.
    """
    count = max(1, min(BATCH, BATCH_BYTES // (3 * size * size)))
    ahead = 2 + threads * TASK // count
    total = len(items) if isinstance(items, Sized) else None
    items, row = iter(items), 0
    waiting: deque[list[tuple[int, Future]]] = deque()
    with _workers(threads, total or 0) as submit, progress.bar(total=total, desc=label, unit="img") as bar:
        try:
            while True:
                while len(waiting) < ahead and (chunk := list(itertools.islice(items, count))):
                    starts = range(0, len(chunk), TASK)
                    waiting.append([(start, submit(chunk[start : start + TASK], size, crop)) for start in starts])
                if not waiting:
                    return
                parts = []
                for start, future in waiting[0]:
                    pixels, errors = future.result()
                    parts.append(pixels)
                    for offset, name, reason in errors:
                        if broken is None:
                            raise UserError(f"{PictureError(name, reason)}; {remedy}")
                        broken.append((row + start + offset, reason))
                waiting.popleft()
                batch = np.concatenate(parts)
                row += len(batch)
                bar.update(len(batch))
                yield batch
        finally:  # whoever stops early waits only for what has begun
            for _, future in itertools.chain(*waiting):
                future.cancel()


Items = Sequence[tuple[str, Source]]
Filled = tuple[np.ndarray, list[tuple[int, str, str]]]


def fill(items: Items, size: int, crop: tuple[int, int] | None) -> Filled:
    """Pixels of some pictures, uint8 (n, 3, S, S), and (offset, name, reason) of each that cannot be read."""
    out, errors = np.zeros((len(items), 3, size, size), np.uint8), []
    for offset, (name, source) in enumerate(items):
        try:
            out[offset] = decode(source, size, crop, name)
        except PictureError as error:
            errors.append((offset, error.name, error.reason))
    return out, errors


@contextmanager
def _workers(threads: int, total: int) -> Iterator[Callable[[Items, int, tuple[int, int] | None], Future]]:
    """What submits pictures to be filled in: here, by threads or, if there are many, by processes."""
    if threads == 1:
        yield _here
    elif total < MANY:
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            yield functools.partial(pool.submit, fill)
    else:
        with processes(fill, threads, ENDED) as submit:
            yield functools.partial(_far, submit)


def _here(*task: object) -> Future:
    done: Future = Future()
    try:
        done.set_result(fill(*task))
    except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as by a pool
        done.set_exception(error)
    return done


def _far(submit: Callable[..., Future], items: Items, size: int, crop: tuple[int, int] | None) -> Future:
    """Submit to a process, which cannot call what reads an archive that is open here."""
    return submit([(name, _carried(source, name)) for name, source in items], size, crop)


def _carried(source: Source, name: str) -> Path | bytes | PictureError:
    try:
        return source if isinstance(source, Path) else _read(source, name)
    except PictureError as error:
        return error


def thumbnail(source: Source, side: int, name: str = "picture") -> Image.Image:
    """A small RGB copy of a picture, rotated as EXIF says, its longer side at most `side` px, its aspect ratio kept.

    Raises:
        PictureError: as `decode`.
    """
    name = str(source) if isinstance(source, Path) else name
    with _opened(source, name) as picture:
        picture.draft("RGB", (2 * side, 2 * side))  # JPEGs are decoded small at once
        small = _upright(picture, name)
        small.thumbnail((side, side))
        return small
