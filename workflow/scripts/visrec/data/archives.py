"""Checksums, and zip and tar files read member by member: nothing is ever unpacked to disk.

No member is returned before the whole archive is checked: names that point out of a folder, links, devices, and sizes
that only a decompression bomb has are refused. Callers get names and bytes.
"""

import gzip
import hashlib
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from visrec.errors import UserError

LENGTHS = {"md5": 32, "sha256": 64}
HTML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|title|body)\b", re.I | re.S)
SLACK = 16 * 2**20  # bytes; an archive that unpacks to less is no bomb, whatever its ratio
HEADER = 2**20  # bytes; more than any header of a tar member takes
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, RuntimeError)
BROKEN_TAR = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most.

    Attributes:
        members: number of members.
        member_bytes: bytes of one member, unpacked.
        total_bytes: bytes of all members, unpacked.
        ratio: unpacked over packed bytes of the whole archive: about 1 for pictures, 10 to 20 for text, and at most
            1,032 with deflate.
    """

    members: int = 2_000_000
    member_bytes: int = 256 * 2**20
    total_bytes: int = 32 * 2**30
    ratio: float = 100.0


LIMITS = Limits()


def verify(path: str | Path, checksum: str) -> None:
    """Refuse a file with another checksum than the expected one. The file is only read, never interpreted.

    Args:
        path: the file.
        checksum: "md5:" or "sha256:" and the digits.

    Raises:
        UserError: the file is missing, cannot be read or has another checksum, or `checksum` has another form.
    """
    wrong = mismatch(path, checksum)
    if wrong:
        raise UserError(f"{path}: {wrong}; delete it and fetch it again, or name the right file under `archives:`")


def mismatch(path: str | Path, checksum: str) -> str:
    """What is wrong with a file that has another checksum than the expected one; "" if it has this one.

    An empty file, and an HTML page that was saved instead of the archive, are named as such.

    Raises:
        UserError: the file is missing or cannot be read, or `checksum` has another form.
    """
    algorithm, expected = _parse(checksum, str(path))
    try:
        with Path(path).open("rb") as file:
            got = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
            file.seek(0)
            head = file.read(4096)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); download it, or name the right file under `archives:`"
        ) from error
    if got == expected:
        return ""
    kind = "has the wrong checksum"
    if not head:
        kind = "is empty"
    elif HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        kind = "is an HTML page (a login or error page) and not the archive"
    return f"{kind}: expected {algorithm}:{expected}, got {algorithm}:{got}"


def _parse(checksum: str, name: str) -> tuple[str, str]:
    algorithm, _, digits = checksum.lower().partition(":")
    if len(digits) != LENGTHS.get(algorithm) or set(digits) - set("0123456789abcdef"):
        raise UserError(
            f"{name}: checksum '{checksum}' must be md5: and 32 or sha256: and 64 hexadecimal digits; correct it"
        )
    return algorithm, digits


@contextmanager
def _explained(path: Path, kind: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn a library's error on a damaged archive into one line."""
    try:
        yield
    except errors as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: is not a whole {kind} file ({reason}); delete it and fetch it again") from error


def _refuse(path: Path, what: str) -> UserError:
    return UserError(f"{path}: refused: {what}; fetch the archive again from its publisher")


def _check_name(path: Path, name: str) -> None:
    """Refuse a member name that is not a path below the archive's root."""
    if (
        not name
        or name.startswith("/")
        or "\\" in name
        or re.match(r"[A-Za-z]:", name)
        or not name.isprintable()
        or ".." in name.split("/")
    ):
        raise _refuse(path, f"member {name!r} has an unsafe name")


class _Tally:
    """Counts members and bytes of an archive as it is read, and refuses numbers that only a bomb has."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
        self.packed = path.stat().st_size
        self.members = self.bytes = 0
        self.seen: set[str] = set()

    def add(self, name: str, size: int, *, folder: bool) -> None:
        limits = self.limits
        _check_name(self.path, name)
        self.members += 1
        if self.members > limits.members:
            raise _refuse(self.path, f"it has more than {limits.members:,} members")
        if size > limits.member_bytes:
            raise _refuse(self.path, f"member {name!r} has {size:,} bytes, more than {limits.member_bytes:,}")
        self.grow(size)
        if not folder:
            if name in self.seen:
                raise _refuse(self.path, f"member {name!r} occurs more than once")
            self.seen.add(name)

    def grow(self, size: int) -> None:
        limits = self.limits
        self.bytes += size
        if self.bytes > limits.total_bytes:
            raise _refuse(self.path, f"it unpacks to more than {limits.total_bytes:,} bytes")
        if self.bytes > SLACK and self.bytes > limits.ratio * self.packed:
            raise _refuse(self.path, f"it unpacks to more than {limits.ratio:g} times its size, like a zip bomb")


@dataclass(frozen=True)
class Zip:
    """An opened and checked zip file.

    Attributes:
        names: of the members that are files, in the archive's order.
        read: member name -> its bytes. Safe to call from several threads. Raises `UserError` if the member is damaged.
    """

    names: list[str]
    read: Callable[[str], bytes]


@contextmanager
def open_zip(path: str | Path, limits: Limits = LIMITS) -> Iterator[Zip]:
    """Open a zip file; it is closed at the end of the `with` block.

    Raises:
        UserError: not a zip file, truncated, encrypted, packed by another method than deflate, an unsafe or repeated
            name, a link or device, or beyond the limits.
    """
    path = Path(path)
    with _explained(path, "zip", BROKEN_ZIP):
        file = zipfile.ZipFile(path)
    with file:
        tally, packed = _Tally(path, limits), 0
        for member in file.infolist():
            mode = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made on a Unix
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refuse(path, f"member {member.filename!r} is a link or a device")
            if member.flag_bits & 0x1:
                raise _refuse(path, f"member {member.filename!r} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refuse(path, f"member {member.filename!r} is not packed by deflate")
            tally.add(member.orig_filename, member.file_size, folder=member.is_dir())
            packed += member.compress_size
        if packed > tally.packed:
            raise _refuse(path, "its members overlap, like a zip bomb")

        def read(name: str) -> bytes:
            with _explained(path, "zip", BROKEN_ZIP):
                return file.read(name)  # at most the declared size, checked by CRC

        yield Zip([member.filename for member in file.infolist() if not member.is_dir()], read)


class _Metered:
    """The unpacked bytes of a tar file, as a stream that refuses more bytes than the limits allow.

    Attributes:
        left: how many bytes the current member and the next header may still have. tarfile reads extended headers into
            memory, so a header of gigabytes would be a bomb too.
    """

    def __init__(self, stream: BinaryIO, path: Path, limits: Limits) -> None:
        self.stream, self.tally, self.left = stream, _Tally(path, limits), HEADER

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.tally.grow(len(data))
        self.left -= len(data)
        if self.left < 0:
            raise _refuse(self.tally.path, f"it has a header of more than {HEADER:,} bytes")
        return data


def read_tar(path: str | Path, wanted: Collection[str], limits: Limits = LIMITS) -> dict[str, bytes]:
    """Read members of a tar file, plain or gzipped, in one pass over the whole file.

    Args:
        path: the file.
        wanted: names of the members to keep; all are checked.
        limits: of the archive.

    Returns:
        Name -> bytes, for those of `wanted` that it has.

    Raises:
        UserError: not a tar file, truncated, an unsafe or repeated name, anything but files and folders, or beyond the
            limits.
    """
    path, found = Path(path), {}
    with _explained(path, "tar", BROKEN_TAR), path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = _Metered(gzip.GzipFile(fileobj=raw) if packed else raw, path, limits)
        tally = _Tally(path, limits)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise _refuse(path, f"member {member.name!r} is neither a plain file nor a folder")
                tally.add(member.name, member.size, folder=member.isdir())
                stream.left = member.size + HEADER
                if member.isreg() and member.name in wanted:
                    found[member.name] = tar.extractfile(member).read()
        stream.left = limits.total_bytes
        while stream.read(2**20):  # to the end, where gzip's own checksum is
            pass
    return found
