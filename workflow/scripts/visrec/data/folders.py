"""Find the pictures in a folder, and in the folders inside it."""

import logging
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from visrec.data.pictures import SUFFIXES
from visrec.errors import UserError, has_control, printable

log = logging.getLogger(__name__)

# Folders that programs make, in lower case: copies for a zip file, thumbnails, bins, snapshots. Names that begin with a
# dot are passed over as well.
PROGRAMS = {
    "__macosx",
    "network trash folder",
    "temporary items",
    "ipod photo cache",
    "thevolumesettingsfolder",
}  # macOS
PROGRAMS |= {
    "$recycle.bin",
    "recycler",
    "recycled",
    "system volume information",
    "$winreagent",
    "dfsrprivate",
}  # Windows
PROGRAMS |= {
    "#recycle",
    "#snapshot",
    "@tmp",
    "@sharebin",
    "@sharesnap",
    "@appstore",
    "@database",
    "@download",
}  # Synology
PROGRAMS |= {"@recycle", "@recently-snapshot", "@thumb", "@transcode", "~snapshot"}  # QNAP, NetApp
PROGRAMS |= {"lost+found", "lost.dir", "__pycache__", "node_modules", "_vti_cnf", "_gsdata_"}
PROGRAMS |= {"thumbs", "_thumbs", "thumbnails", "_thumbnails", "thumbnail", "_thumbnail", "captureone"}  # galleries
PROGRAM_PREFIXES = ("@eadir", "@__", "@syno", "#recycle", "found.0")
# Folders with a photo program's own copies.
PROGRAM_SUFFIXES = (".lrdata", ".lrcat-data", ".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")
PROGRAM_SUFFIXES += (".cocatalog", ".cosessiondb", ".dtrash")
# These may be classes, too: they are a program's where pictures lie beside them.
AMBIGUOUS = {"thumb", "_thumb", "tn", "_tn", "cache", "_cache", "preview", "previews", "trash", "digikam_trash"}
SPECIAL = "is neither a file nor a folder"
UNREAD = {  # photographs that are not read, unlike what else lies in folders
    ".heic": "HEIC",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".jxl": "JPEG XL",
}


@dataclass(frozen=True)
class Contents:
    """What is in a folder. Paths are POSIX, relative to the folder, and sorted.

    Attributes:
        pictures: files with the suffix of a picture.
        folders: all that were entered.
        links: symbolic links, but for those that are neither folders nor named like pictures.
        special: names with the suffix of a picture that are pipes, devices or the like.
        skipped: (path, reason) of folders and pictures that cannot be opened or are of a kind that is not read, and of
            links to folders, which are not followed.
        unknown: folders among them, so that nobody knows which pictures are missing.
        others: suffix -> number of files without the suffix of a picture.
        left_out: path -> reason of what a dataset does without, see `of_dataset`.
    """

    pictures: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)

    def of_others(self) -> str:
        """Such as ".txt 3, no suffix 1", the five commonest; "" if there are none."""
        commonest = sorted(self.others.items(), key=lambda each: (-each[1], each[0]))
        return ", ".join(f"{printable(suffix)} {count}" for suffix, count in commonest[:5])


def scan(root: Path) -> Contents:
    """List a folder and the folders inside it.

    Names that begin with a dot are passed over, folders that programs make (`PROGRAMS`) and files without the suffix of
    a picture; the log says how many. A folder that cannot be read, `root` itself included (as "."), is among `skipped`.
    """
    contents = Contents()
    programs: list[str] = []
    to_enter = [""]
    while to_enter:
        folder = to_enter.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".") or is_folder(entry)]
        except OSError as error:
            reason = f"the folder cannot be read ({error.strerror}); check the path and who may read it"
            contents.skipped.append((folder or ".", reason))
            contents.unknown.append(folder or ".")
            continue
        beside = any(PurePosixPath(entry.name).suffix.lower() in SUFFIXES and not is_folder(entry) for entry in found)
        for entry in found:
            path = f"{folder}/{entry.name}".lstrip("/")
            if is_folder(entry) and (of_a_program(entry.name) or (beside and entry.name.lower() in AMBIGUOUS)):
                programs.append(path)
                continue
            kind, reason = kind_of(root / path)
            suffix = PurePosixPath(path).suffix.lower()
            if kind != "folder" and suffix not in SUFFIXES and suffix not in UNREAD:
                contents.others[suffix or "no suffix"] += 1
                continue
            if entry.is_symlink():
                contents.links.append(path)
            if suffix in UNREAD and kind != "folder":
                reason = f"is {UNREAD[suffix]}, which is not read; save it as JPEG"
            if reason:
                contents.skipped.append((path, reason))
                if kind == "folder" and not entry.is_symlink():
                    contents.unknown.append(path)
            elif kind == "folder":
                contents.folders.append(path)
                to_enter.append(path)
            else:
                (contents.pictures if kind == "file" else contents.special).append(path)
    if contents.others:
        total = contents.others.total()
        log.info("%s: left out %d files without the suffix of a picture (%s)", root, total, contents.of_others())
    if programs:
        kinds = Counter(PurePosixPath(path).name for path in programs).most_common(5)
        counts = ", ".join(f"{printable(name)} {count}" for name, count in kinds)
        first = printable(min(programs))
        log.warning("%s: left out %d folders that programs make (%s), first %s", root, len(programs), counts, first)
    for paths in (contents.pictures, contents.folders, contents.links, contents.special, contents.skipped):
        paths.sort()
    return contents


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder; links are not."""
    return entry.is_dir(follow_symlinks=False)


def of_a_program(name: str) -> bool:
    """Whether a folder of this name is made by programs, not by people."""
    lower = name.lower().rstrip()
    parts = lower.startswith(PROGRAM_PREFIXES) or lower.endswith(PROGRAM_SUFFIXES)
    return name.startswith(".") or lower in PROGRAMS or parts


def kind_of(path: Path) -> tuple[str, str]:
    """What a path is, "file", "folder" or "special"; and why it cannot be opened, "" if it can."""
    try:
        mode = path.stat().st_mode
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links may be a RuntimeError
        return "special", f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    kind = "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return kind, "its name is not UTF-8; rename it"
    return kind, "is a link to a folder, which is not followed" if kind == "folder" and path.is_symlink() else ""


def of_dataset(root: Path, skip: bool) -> Contents:
    """The contents of a folder that is a dataset: ids are made of names, and no picture may be there twice.

    Args:
        root: the folder.
        skip: leave out pictures and links that cannot be used, each with a line in the log, instead of an error.

    Raises:
        UserError: naming the first picture or link that cannot be used, or a folder whose pictures nobody knows.
    """
    contents = scan(root)
    wrong = dict(contents.skipped)
    wrong |= {path: reason for path in contents.links if (reason := _leads_astray(root, path))}
    wrong |= {path: "has a control character in its name; rename it" for path in contents.pictures if has_control(path)}
    for path in [*contents.unknown, *sorted(wrong)] if not skip else contents.unknown:
        more = f" ({len(wrong) - 1} more such)" if len(wrong) > 1 else ""
        raise UserError(f"{root / path}: {wrong[path]}{more}")
    for path, reason in sorted(wrong.items()):
        log.warning("left out %s: %s", printable(root / path), reason)
    for path in contents.special:
        log.warning("left out %s: %s", printable(root / path), SPECIAL)
    contents.left_out.update(wrong)
    contents.pictures[:] = [path for path in contents.pictures if path not in wrong]
    if contents.left_out:
        _without_emptied(root, contents)
    return contents


def _without_emptied(root: Path, contents: Contents) -> None:
    """Leave out folders that had pictures, and have none but what was left out: they are no classes and no splits."""
    filled, had = (
        {str(above) for path in paths for above in PurePosixPath(path).parents}
        for paths in (contents.pictures, contents.left_out)
    )
    emptied = had - filled
    for folder in sorted(emptied & {*contents.folders}):
        if str(PurePosixPath(folder).parent) not in emptied:
            log.warning("left out the folder %s: nothing in it can be used", printable(root / folder))
    within = {folder for folder in contents.folders if emptied & {folder, *map(str, PurePosixPath(folder).parents)}}
    contents.folders[:] = [folder for folder in contents.folders if folder not in within]


def _leads_astray(root: Path, path: str) -> str:
    """What is wrong with a link, "" if nothing."""
    try:
        target = (root / path).resolve(strict=True)
    except (OSError, RuntimeError):  # before Python 3.13 a loop is a RuntimeError
        return "the link leads nowhere; fix or remove it"
    if not target.is_relative_to(root.resolve()):
        return f"the link leads out of the folder, to {target}; put the files themselves there"
    if target.is_dir():
        return "the link leads to a folder, which would be read twice; remove the link"
    return ""
