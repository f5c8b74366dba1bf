"""What names of folders mean: splits or classes, and signs that classes are no classes."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from visrec.data.folders import printable
from visrec.errors import UserError

log = logging.getLogger(__name__)

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
}
# Words beside that of a split, as in `Test Images` or `train_set`.
FILLERS = {"set", "data", "dataset", "split", "folder", "seg"}
FILLERS |= {"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"}


def split_of(folder: str) -> str | None:
    """The split that the name of a folder means: `Training`, `test_set`, `val2017`, `TestImages`; None for others."""
    words = _words(folder)
    return SPLIT_WORDS.get("".join(word for word in words if word not in FILLERS).removesuffix("set"))


def resembles_split(folder: str) -> bool:
    """Whether a word of a name is that of a split, as in `testA`."""
    return bool(SPLIT_WORDS.keys() & set(_words(folder)))


def _words(name: str) -> list[str]:
    return re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())


def split_folders(tops: Iterable[str]) -> dict[str, str]:
    """Folder -> split; {} where the folders are classes, one of which may be called `train`."""
    tops = set(tops)
    named = {folder: split for folder in tops if (split := split_of(folder))}
    return {} if "train" not in named.values() or (len(named) == 1 and len(tops) > 1) else named


def check_levels(place: Path, classes: set[str], folders: Iterable[str]) -> None:
    """Refuse, or warn of, class folders that look like something else: their own folders would be the classes."""
    inside: dict[str, set[str]] = {name: set() for name in classes}
    for path in folders:
        top, _, below = path.partition("/")
        if below:
            inside[top].add(below.split("/")[0])
    for name in sorted(classes):
        if inside[name] and inside[name] <= classes - {name}:
            raise UserError(
                f"{place / name}: has folders like those beside it, such as '{min(inside[name])}', so it is no class; "
                "put the classes beside it into a folder 'train', and call this one 'val' or 'test'"
            )
    common = next(iter(inside.values())) if inside else set()
    if len(classes) == 1 and common:
        only = min(classes)
        raise UserError(
            f"{place}: '{only}' is the only class folder, with the folders {_some(common)} inside; if these are the "
            f"classes, move them up, or let `path` lead to {place / only}; else put the pictures beside each other"
        )
    if len(classes) > 1 and common and all(each == common for each in inside.values()):
        log.warning(
            "%s: every class folder (%s) has the same folders inside (%s); if these are the classes, sort the pictures "
            "by them",
            place,
            _some(classes),
            _some(common),
        )


def _some(names: set[str]) -> str:
    shown = ", ".join(f"'{printable(name)}'" for name in sorted(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
