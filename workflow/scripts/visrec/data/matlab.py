"""Numeric arrays in MATLAB 5 files, packed or not, little-endian: as much of the format as datasets need.

Read here and not by scipy.io, whose compiled reader ends the whole process on some damaged files. Every size is checked
against the bytes that are there, and nothing is unpacked beyond what the shape of an array asks for.

A file is a header of 128 bytes and elements: a kind and a size, 4 bytes each, and so many bytes, filled up to a
multiple of 8; or, where these are four at most, kind and size in 2 bytes each and then the bytes. An array is an
element of elements: flags, dimensions, name and values, the latter in the smallest type that holds them. A packed
element is one of these behind zlib, and is not filled up. (MathWorks, MAT-File Format, Level 5.)
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visrec.errors import UserError

HEADER, HEAD = 128, 512  # bytes of a file's header, and those of an array with which its values begin at the latest
TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
INT8, INT32, UINT32, MATRIX, PACKED = 1, 5, 6, 14, 15
CLASSES = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FIRST_CLASS = 6
COMPLEX = 0x800


class _DamagedError(Exception):
    """The bytes are not those of such a file."""


@dataclass(frozen=True)
class Array:
    """An array of a file, whose values are not read yet.

    Attributes:
        kind: "uint8", "double" ...; "other" for text, cells, complex numbers and the like.
        shape: of it.
        packed: whether `body` is to be unpacked.
        body: the bytes of its element.
    """

    kind: str
    shape: tuple[int, ...]
    packed: bool
    body: memoryview


def arrays(path: str | Path) -> dict[str, Array]:
    """The arrays of a file by name; its bytes stay in memory as long as one of them is there.

    Raises:
        UserError: the file cannot be opened, is damaged or of another kind.
    """
    try:
        data = memoryview(Path(path).read_bytes())
        if bytes(data[124:128]) == b"\0\2IM" or bytes(data[:8]) == b"\x89HDF\r\n\x1a\n":
            raise UserError(f"{path}: is a MATLAB 7.3 file, not a MATLAB 5 file; fetch the official file again")
        if bytes(data[124:128]) != b"\0\1IM":
            raise _DamagedError("its header is another")
        found, at = {}, HEADER
        while at < len(data):
            kind, body, at = _element(data, at)
            if kind == PACKED:
                inner = zlib.decompressobj().decompress(body, HEAD)
                if len(inner) < 8 or struct.unpack_from("<I", inner)[0] != MATRIX:
                    continue
                name, array = _head(memoryview(inner)[8:], body, packed=True)
            elif kind == MATRIX:
                name, array = _head(body[:HEAD], body, packed=False)
            else:
                continue
            found[name] = array
    except (OSError, zlib.error, _DamagedError) as error:
        raise _unreadable(path, error) from error
    return found


def values(path: str | Path, array: Array) -> np.ndarray:
    """The values of an array of numbers, in the type they are stored in, which may be a smaller one than `kind`.

    Args:
        path: the file, for the message.
        array: of `arrays`.

    Raises:
        UserError: it is damaged, or holds no numbers.
    """
    try:
        body = _unpacked(array) if array.packed else array.body
        _, _, at = _parts(body)
        kind, data, _ = _element(body, at)
        if array.kind == "other" or kind not in TYPES:
            raise _DamagedError("an array holds no numbers")
        if len(data) != math.prod(array.shape) * np.dtype(TYPES[kind]).itemsize:
            raise _DamagedError("an array has more or fewer values than its shape")
        return np.frombuffer(data, TYPES[kind]).reshape(array.shape, order="F")
    except (zlib.error, _DamagedError) as error:
        raise _unreadable(path, error) from error


def _unpacked(array: Array) -> memoryview:
    """The whole element behind zlib, whose own checksum is looked at."""
    most = HEAD + 8 * math.prod(array.shape)
    stream = zlib.decompressobj()
    data = stream.decompress(array.body, most)
    if not stream.eof:
        stream.decompress(stream.unconsumed_tail, 1)
    if not stream.eof:
        raise _DamagedError("a packed array is longer or shorter than its shape")
    return memoryview(data)[8:]


def _head(start: memoryview, body: memoryview, *, packed: bool) -> tuple[str, Array]:
    """Name and array, of which only the first bytes are there."""
    (flags, shape), name, _ = _parts(start)
    number = (flags & 0xFF) - FIRST_CLASS
    kind = CLASSES[number] if 0 <= number < len(CLASSES) and not flags & COMPLEX else "other"
    return name, Array(kind, shape, packed, body)


def _parts(body: memoryview) -> tuple[tuple[int, tuple[int, ...]], str, int]:
    """Flags, shape and name of an array, and where its values begin."""
    kind, flags, at = _element(body, 0)
    if kind != UINT32 or len(flags) != 8:
        raise _DamagedError("an array has no flags")
    kind, dimensions, at = _element(body, at)
    shape = tuple(np.frombuffer(dimensions, "<i4").tolist()) if len(dimensions) % 4 == 0 else ()
    if kind != INT32 or not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise _DamagedError("an array has no shape")
    kind, name, at = _element(body, at)
    if kind != INT8:
        raise _DamagedError("an array has no name")
    return (struct.unpack_from("<I", flags)[0], shape), bytes(name).decode("latin1"), at


def _element(data: memoryview, at: int) -> tuple[int, memoryview, int]:
    """Kind and bytes of the element that begins somewhere, and where the next one does."""
    if at + 8 > len(data):
        raise _DamagedError("it ends too early")
    kind, size = struct.unpack_from("<II", data, at)
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise _DamagedError("a small element is too large")
        return kind, data[at + 4 : at + 4 + size], at + 8
    end = at + 8 + size
    if end > len(data):
        raise _DamagedError("it ends too early")
    return kind, data[at + 8 : end], end if kind == PACKED else end + -size % 8


def _unreadable(path: str | Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: cannot be read as a MATLAB file ({reason}); fetch it again")
