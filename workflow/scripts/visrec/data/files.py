"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visrec.errors import FULL, REFUSED, UserError, printable, writing


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync and rename it into place, on failure remove it.

    A reader sees the old file or the new one, never half of one.

    Raises:
        UserError: the disk, or the quota on it, is full, or the folder cannot be written.
    """
    path = Path(path)
    with writing(path, FULL, REFUSED):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with writing(path, FULL):  # not REFUSED: that may come from another file, which the caller reads meanwhile
            yield temporary
            sync(temporary)
            temporary.chmod(0o666 & ~_umask())  # files of mkstemp are readable by their owner only
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(path: str | Path) -> None:
    """Remove temporary files that processes killed inside `atomic(path)` have left."""
    path = Path(path)
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        temporary.unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Wait until a file's content is on the disk."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def expanded(path: str | Path) -> Path:
    """A path that a user wrote, with the home folder for `~`.

    Raises:
        UserError: it begins with the `~` of somebody who is not known here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: there is no such home folder; correct the path, or write ./ before it") from error


def there_is(path: str | Path) -> bool:
    """Whether a path that a user wrote, `expanded`, leads to anything.

    Raises:
        UserError: as of `expanded`; it may not be looked at, or has a name that is too long.
    """
    try:
        return expanded(path).exists()
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be looked at ({error.strerror}); correct it") from error


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file in UTF-8.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing; run again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); delete it and run again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no names and values; delete it and run again")
    return found


def write_sealed(path: str | Path, data: dict[str, Any]) -> None:
    """Write JSON atomically, with a checksum under the name `sha256`."""
    write_text(path, json.dumps({**data, "sha256": _digest(data)}) + "\n")


def read_sealed(path: str | Path) -> dict[str, Any]:
    """What `write_sealed` wrote; {} if the file is not there, or an earlier version wrote it without a checksum.

    Raises:
        UserError: the file is damaged.
    """
    found = read_json(path) if Path(path).exists() else {}
    checksum = found.pop("sha256", None)
    if checksum is None:
        return {}
    if checksum != _digest(found):
        raise UserError(f"{path}: is damaged, its checksum does not fit; delete it and run again")
    return found


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def write_json(path: str | Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2) + "\n")
