"""What names of folders mean: splits or classes, and signs that classes are no classes."""

import logging
import re
import unicodedata
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


def split_of(folder: str, passed_over: Iterable[str] = ()) -> str | None:
    """The split that the name of a folder means: `Training`, `test_set`, `val2017`, `TestImages`; None for others.

    Args:
        folder: its name.
        passed_over: further words that say nothing.
    """
    words = [word for word in _words(folder) if word not in FILLERS and word not in passed_over]
    return SPLIT_WORDS.get("".join(words).removesuffix("set"))


def resembles_split(folder: str) -> bool:
    """Whether a word of a name is that of a split, as in `testA`."""
    return bool(SPLIT_WORDS.keys() & set(_words(folder)))


def _words(name: str) -> list[str]:
    return re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())


def split_folders(tops: Iterable[str]) -> dict[str, str]:
    """Folder -> split; {} where the folders are classes, one of which may be called `train`.

    Words that all folders have say nothing: `birds_train_v2` and `birds_test_v2` are splits.
    """
    tops = set(tops)
    shared = set.intersection(*(set(_words(folder)) for folder in tops)) if len(tops) > 1 else set()
    shared -= SPLIT_WORDS.keys()
    named = {folder: split for folder in tops if (split := split_of(folder, shared))}
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
    if len(classes) == 1 and any(inside.values()):
        only = min(classes)
        raise UserError(
            f"{place}: '{only}' is the only class folder, with the folders {_some(inside[only])} inside; if these are "
            f"the classes, move them up, or let `path` lead to {place / only}; else put the pictures beside each other"
        )
    of_splits = sorted(
        set().union(*inside.values()) & {each for found in inside.values() for each in split_folders(found)}
    )
    if of_splits:
        log.warning(
            "%s: class folders have folders named like splits inside (%s), which are not told apart; if they are "
            "splits, put the classes into them",
            place,
            _some(of_splits),
        )
    # One folder may lack some: of the test pictures, say, there need not be some of every class.
    common = set.intersection(*inside.values())
    if len(classes) > 1 and 2 * len(common) >= max(map(len, inside.values())) > 0:
        log.warning(
            "%s: every class folder (%s) has the same folders inside (%s); if these are the classes, sort the pictures "
            "by them",
            place,
            _some(classes),
            _some(common),
        )
    alone = [name for name in classes if (split_of(name) or resembles_split(name)) and inside[name]]
    if len(alone) == 1 and len(classes) > 1:
        log.warning(
            "%s: the folder '%s' is a class here, though it has folders inside (%s); if it is a split, put the folders "
            "beside it elsewhere",
            place,
            printable(alone[0]),
            _some(inside[alone[0]]),
        )


def check_alike(place: Path, classes: Iterable[str]) -> None:
    """Warn of classes whose names look the same but for case: they differ in spaces, or in how letters are composed."""
    alike: dict[str, list[str]] = {}
    for name in sorted(classes):
        seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", seen).casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            log.warning("%s: %s are different classes; if they are one, give them one name", place, _some(names))


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    shown = ", ".join(f"'{printable(name)}'" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
