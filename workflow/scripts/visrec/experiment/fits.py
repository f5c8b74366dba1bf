"""Whether a config and a dataset fit each other: numbers of pictures, labels, classes, files.

All that does not fit is said at once, before the first job that reads the pictures works. An option says in its schema
what it depends on, `"at_most": ["train", "values"]`, names of `limits`. One that was left at its default is lowered
where it does not fit, and the log says so; one that was chosen is not changed, but for a batch that is larger than the
number of labelled pictures where no others are seen (`visrec.encoders.train`).

Light on purpose (no torch, no pandas), as all of this folder.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.config import encoder_options, options
from visrec.experiment.trials import Trial, grid, parse

log = logging.getLogger(__name__)

Counts = Mapping[str, Mapping[int, int]]  # split -> label, -1 = none -> number of images


def limits(train: int, size: int = 0) -> dict[str, int]:
    """What an option may be `at_most`.

    Args:
        train: number of training images.
        size: of a side in pixels.

    Returns:
        `train`; `others`, the training images besides one; and `values`, the pixel values of an image.
    """
    return {"train": train, "others": train - 1, "values": 3 * size * size}


def fitted(declared: Mapping[str, Mapping], given: Mapping[str, Any], bounds: Mapping[str, int]) -> dict[str, Any]:
    """Options, those at their default lowered to what fits; of a list, the values that fit are kept.

    Args:
        declared: option -> its schema.
        given: option -> value.
        bounds: `limits`.
    """
    fits = dict(given)
    for name, value in given.items():
        bound = _bound(declared.get(name, {}), bounds)
        if bound is None or value != declared[name]["default"] or not _too_large(value, bound):
            continue
        lower = [each for each in value if each <= bound] if isinstance(value, list) else bound
        if lower and bound >= declared[name].get("minimum", 1):
            log.warning(
                "%s: %s in the place of the default %s, for %d training images", name, lower, value, bounds["train"]
            )
            fits[name] = lower
    return fits


def check(config: Mapping[str, Any], counts: Counts, dataset: str, size: int, encoder: str, trial: str) -> None:
    """Refuse a config that does not fit a dataset at a size.

    Args:
        config: as `visrec.experiment.config.check` returns it.
        counts: split -> label, -1 = none -> number of images.
        dataset: its name in the config.
        size: of a side in pixels.
        encoder: of the trial that asks.
        trial: its name; it may be on no grid.

    Raises:
        UserError: a line for each thing that does not fit, with its remedy.
    """
    asking = parse(config, dataset, int(size), encoder, trial)
    trials = [each for each in grid(config) if (each.dataset, each.size) == (dataset, int(size))]
    found = [line for each in [*trials, asking] for line in _of_trial(config, each, counts)]
    if not config.get("query"):  # recommendations need no scores
        found += _of_evaluators(config, dataset, counts)
    if found:
        raise UserError(*dict.fromkeys(found))


def _of_trial(config: Mapping[str, Any], trial: Trial, counts: Counts) -> Iterator[str]:
    encoder, train = trial.encoder, sum(counts["train"].values())
    bounds = limits(train, trial.size)
    for name, declared in encoder_options(encoder).items():
        bound, value = _bound(declared, bounds), trial.options[name]
        if bound is None or not _too_large(value, bound):
            continue
        where = f"encoders.{encoder}.{name}: {value}"
        if bound < declared.get("minimum", 1):
            yield f"{where}: {train} training images of {trial.dataset} are too few for any; add pictures"
        elif _chosen(config, trial, name):
            yield f"{where} is too many for {_has(trial.dataset, train, trial.size)}; write {bound} or less"
    classes = len(_labelled(counts["train"]))
    if trial.declared.get("LABELS") and classes < 2:
        found = "all are of one class" if classes else f"no training image of {trial.dataset} has one"
        yield f"encoders.{encoder}: is trained with labels, {found}; leave it out"
    for name in trial.declared.get("FILES", ()):
        if not trial.options[name]:
            if encoder_options(encoder)[name].get("needed"):
                yield f"encoders.{encoder}.{name}: no file is named; name one"
        elif not Path(trial.options[name]).is_file():
            yield f"encoders.{encoder}.{name}: {trial.options[name]}: there is no such file; correct the path"


def _of_evaluators(config: Mapping[str, Any], dataset: str, counts: Counts) -> Iterator[str]:
    evaluators = list(config["evaluators"])
    if not evaluators:
        return
    for split, part in counts.items():
        if not part:
            yield f"split '{split}' of {dataset} has no images to score; give it some in the dataset's split options"
        elif part.get(-1):
            missing = (
                f"labels are missing for {part[-1]} of {sum(part.values())} images of split '{split}' of {dataset}"
            )
            remedy = "sort the images into one folder per class, or leave the evaluators out, `evaluators: {}`"
            yield f"{missing}; scores need labels: {remedy}"
    classes, train = len(_labelled(counts["train"])), sum(counts["train"].values())
    for name in evaluators:
        declared = registry.declared("evaluators", name)
        needed = declared.get("CLASSES", 1)
        if 0 < classes < needed:
            yield f"evaluators.{name}: needs training images of {needed} classes, {dataset} has {classes}; leave it out"
        for option, value in options(config, "evaluators", name).items():
            bound = _bound(declared["OPTIONS"][option], limits(train))
            if bound is None or not _too_large(value, bound):
                continue
            values = value if isinstance(value, list) else [value]
            fits = bound >= declared["OPTIONS"][option].get("minimum", 1) and (
                not isinstance(value, list) or min(values) <= bound
            )
            if option in config["evaluators"][name] or not fits:
                yield (
                    f"evaluators.{name}.{option}: {max(values)} is too many for {_has(dataset, train)}; "
                    f"write {max(bound, 0)} or less, or add pictures"
                )


def _has(dataset: str, train: int, size: int = 0) -> str:
    pixels = f" of {3 * size * size} values" if size else ""
    return f"{train} training images{pixels} of {dataset}"


def _labelled(part: Mapping[int, int]) -> dict[int, int]:
    return {label: count for label, count in part.items() if label >= 0}


def _bound(declared: Mapping[str, Any], bounds: Mapping[str, int]) -> int | None:
    names = declared.get("at_most")
    return min(bounds[name] for name in names) if names else None


def _too_large(value: Any, bound: int) -> bool:
    return max(value) > bound if isinstance(value, list) else value > bound


def _chosen(config: Mapping[str, Any], trial: Trial, name: str) -> bool:
    """Whether a user chose the value of an option: in the config, on a grid, or in the name of a trial."""
    general = config["encoders"].get(trial.encoder, {})
    own = config["datasets"].get(trial.dataset, {}).get("encoders", {}).get(trial.encoder, {})
    return name in general or name in own or name in (*trial.axes, *trial.grid)
