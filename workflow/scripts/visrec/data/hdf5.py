"""HDF5 files between stages: how they are written, sealed with a checksum, and opened with checks.

`images.h5` (`visrec.data.images`), `embeddings.h5` (`visrec.data.embeddings`), the scores of each query
(`visrec.data.query_scores`) and the shards of a gallery are told apart by their attribute `kind`; what each holds is in
`visrec.data.structure`.

The first 512 bytes of a file are left to its maker by HDF5 (the userblock): they hold the SHA-256 of all bytes behind
them. It is checked before HDF5 looks at the file, as damage can crash the library, not only change numbers.
"""

import hashlib
import os
import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from visrec.data.files import atomic
from visrec.data.structure import NotPlainError, check, plain
from visrec.errors import UserError

SPLITS = ("train", "val", "test")
IMAGES = "visrec images 1"
EMBEDDINGS = "visrec embeddings 2"
QUERY_SCORES = "visrec query scores 1"
ROWS_AT_ONCE = 1024

USERBLOCK = 512  # bytes, the least that HDF5 offers
SEAL = "visrec sha256 "
SIGNATURE = b"\x89HDF\r\n\x1a\n"  # of HDF5, at the beginning of a file without a userblock
SETTLED = 2.0  # seconds after which a file that is written again gets another date
# What h5py raises where a file is damaged, or asks for more memory than there is.
READ_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)

_checked: dict[str, tuple[int, ...]] = {}  # files that this process has checked, as they were then


@contextmanager
def writing(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Write a file of a kind, such as `IMAGES`: it appears whole, with its checksum, or not at all.

    Raises:
        UserError: the disk, or the quota on it, is full, or the folder cannot be written.
    """
    with atomic(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=USERBLOCK) as file:
            yield file
            file.attrs["kind"] = kind
        seal(temporary)


def seal(path: str | Path) -> None:
    """Write the checksum of a closed file into its first bytes."""
    line = f"{SEAL}{_digest(path)}\n".encode()
    with Path(path).open("r+b") as file:
        file.write(line)


def unsealed(path: str | Path) -> bool:
    """Whether a file begins like HDF5 of an earlier version, which wrote no checksums."""
    with Path(path).open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Open a file of a kind, such as `IMAGES`, to read parts of it.

    Its checksum and its structure are checked first, once per process.

    Raises:
        UserError: the file is missing, damaged, of another kind or of an earlier version.
    """
    state = _verify(path, kind)
    try:
        # Finished files never change, so the lock that network file systems often refuse is not needed.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as HDF5 ({error}); delete it and run again") from error
    with file:
        try:
            found = file.attrs.get("kind")
            if found == kind and _checked.get(str(path)) != state:
                check(file, kind)
                if time.time() - max(state[2:4]) / 1e9 > SETTLED:
                    _checked[str(path)] = state
        except (NotPlainError, *READ_ERRORS) as error:
            raise UserError(f"{path}: is damaged ({one_line(error)}); delete it and run again") from error
        if found != kind:
            raise UserError(f"{path}: is not a '{kind}' file; delete it and run again")
        try:
            yield file
        except READ_ERRORS as error:
            if not _of_hdf5(error):  # the reader's own
                raise
            raise UserError(f"{path}: is damaged ({one_line(error)}); delete it and run again") from error


def _of_hdf5(error: Exception) -> bool:
    """Whether HDF5 itself, or text in a file, raised an error: damage that structure does not show."""
    return "synchronously" in str(error) or isinstance(error, UnicodeDecodeError)


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _verify(path: str | Path, kind: str) -> tuple[int, ...]:
    """Check the checksum of a file, unless it was done; returns what changes when the file does."""
    try:
        about = Path(path).stat()
        state = (about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns)
        if _checked.get(str(path)) == state:
            return state
        with Path(path).open("rb") as file:
            line = file.read(USERBLOCK).partition(b"\n")[0].decode("ascii", errors="replace")
        if not line.startswith(SEAL) and not h5py.is_hdf5(path):
            raise UserError(f"{path}: cannot be read as HDF5; delete it and run again")
        if not line.startswith(SEAL):
            raise UserError(f"{path}: is not a '{kind}' file of this version, with a checksum; delete it and run again")
        whole = line.removeprefix(SEAL) == _digest(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); delete it and run again") from error
    if not whole:
        raise UserError(f"{path}: is damaged, its checksum does not fit; delete it and run again")
    return state


def _digest(path: str | Path) -> str:
    """SHA-256 of all bytes of a file behind its userblock."""
    with Path(path).open("rb") as file:
        file.seek(USERBLOCK)
        return hashlib.file_digest(file, "sha256").hexdigest()


def strings(dataset: h5py.Dataset) -> np.ndarray:
    """Text of a dataset, str (N,)."""
    return dataset.asstr()[:].astype(str)


def try_to_read(path: str | Path, names: Iterable[str]) -> str:
    """Read datasets of a file that others made in a process of its own; returns why they cannot be read, or "".

    Damage can make HDF5 crash, read for ever or ask for gigabytes, and no exception tells; a checksum does, but files
    of others have none. The process may take a second of CPU per 20 MB of values, and 1 GiB of memory beside the file.

    Args:
        path: the file.
        names: datasets; what is wrong with their kind is left to the caller, who finds it without reading them.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.write(writer, _read_all(path, names).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        reason = file.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return reason if status == 0 else "HDF5 does not get through it"


def _read_all(path: str | Path, names: Iterable[str]) -> str:
    """What `try_to_read` does in its process, whose limits it sets."""
    used = Path("/proc/self/statm")  # of Linux; elsewhere memory is not limited
    if used.exists():
        most = int(used.read_text().split()[0]) * resource.getpagesize() + 2**30 + Path(path).stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (3, resource.RLIM_INFINITY))
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = [plain(file, name) for name in names]
            seconds = 3 + sum(data.nbytes for data in found) // 20_000_000
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
            for data in found:
                for start in range(0, len(data) if data.shape else 0, ROWS_AT_ONCE):
                    data[start : start + ROWS_AT_ONCE]
    except NotPlainError:
        return ""
    except READ_ERRORS as error:
        return one_line(error) or type(error).__name__
    return ""
