"""Find the pictures in a folder, and in the folders inside it."""

import logging
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from visrec.data.pictures import SUFFIXES
from visrec.errors import printable

log = logging.getLogger(__name__)

MACOS = "__MACOSX"  # macOS puts a folder of this name, with copies that are no pictures, into every zip file
SPECIAL = "is neither a file nor a folder"


@dataclass(frozen=True)
class Contents:
    """What is in a folder. Paths are POSIX, relative to the folder, and sorted.

    Attributes:
        pictures: files with the suffix of a picture.
        folders: all that were entered.
        links: all symbolic links.
        special: names with the suffix of a picture that are pipes, devices or the like.
        skipped: (path, reason) of what cannot be opened, and of links to folders, which are not followed.
    """

    pictures: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def scan(root: Path) -> Contents:
    """List a folder and the folders inside it.

    Names that begin with a dot are passed over. Files without the suffix of a picture are too; the log says how many.
    A folder that cannot be read, `root` itself included (as "."), is among `skipped`.
    """
    contents = Contents()
    other_suffixes: Counter[str] = Counter()
    to_enter = [""]
    while to_enter:
        folder = to_enter.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".") and entry.name != MACOS]
        except OSError as error:
            reason = f"the folder cannot be read ({error.strerror}); check the path and who may read it"
            contents.skipped.append((folder or ".", reason))
            continue
        for entry in found:
            path = f"{folder}/{entry.name}".lstrip("/")
            kind, reason = kind_of(root / path)
            suffix = PurePosixPath(path).suffix.lower()
            if entry.is_symlink():
                contents.links.append(path)
            if reason:
                contents.skipped.append((path, reason))
            elif kind == "folder":
                contents.folders.append(path)
                to_enter.append(path)
            elif suffix not in SUFFIXES:
                other_suffixes[suffix or "no suffix"] += 1
            else:
                (contents.pictures if kind == "file" else contents.special).append(path)
    if other_suffixes:
        most_common = ", ".join(f"{printable(suffix)} {count}" for suffix, count in other_suffixes.most_common(5))
        total = other_suffixes.total()
        log.info("%s: left out %d files without the suffix of a picture (%s)", root, total, most_common)
    for paths in (contents.pictures, contents.folders, contents.links, contents.special, contents.skipped):
        paths.sort()
    return contents


def kind_of(path: Path) -> tuple[str, str]:
    """What a path is, "file", "folder" or "special"; and why it cannot be opened, "" if it can."""
    try:
        str(path).encode()
        mode = path.stat().st_mode
    except UnicodeEncodeError:
        return "special", "its name is not UTF-8; rename it"
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links may be a RuntimeError
        return "special", f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return "folder", "is a link to a folder, which is not followed" if path.is_symlink() else ""
    return "file" if stat.S_ISREG(mode) else "special", ""
