"""Which trial recommends, where nobody names one: read from the leaderboard.

Light on purpose (no torch, no pandas): rule recommend asks while Snakemake plans.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visrec.errors import UserError
from visrec.experiment import registry

# Columns of the leaderboard to choose by, the first that anybody has a score in; {k} is the row's.
MEASURES = {
    "val_precision": "precision@{k}",
    "val_knn_accuracy": "accuracy of {k}-NN",
    "val_svm_accuracy": "accuracy of a linear SVM",
}


def embeds_new_pictures(encoder: str) -> bool:
    """Whether an encoder has features for pictures that are not in its images.h5."""
    return registry.declared("encoders", encoder).get("NEW_PICTURES", True)


def choose(leaderboard: str | Path, trials: Sequence[Mapping[str, Any]], dataset: str, size: int) -> tuple[str, str]:
    """The trial that is best on validation, among each encoder's best.

    Of equals, and where pictures have no labels and nothing is scored, the order of the config decides; in the latter
    case trained encoders come first.

    Args:
        leaderboard: tables/leaderboard.csv.
        trials: dicts with dataset, size, encoder, trial and stage, in the order of the config.
        dataset: whose trials.
        size: of the pictures.

    Returns:
        the trial as encoder/trial, and why it was taken.

    Raises:
        UserError: there is no leaderboard, or in it no trial of the dataset and size that ended well and embeds new
            pictures.
    """
    try:
        with Path(leaderboard).open(encoding="utf-8", newline="") as file:
            rows = {
                (row["encoder"], row["trial"]): row
                for row in csv.DictReader(file)
                if (row["dataset"], row["size"], row["status"]) == (dataset, str(size), "ok")
            }
    except FileNotFoundError as error:
        raise UserError(f"{leaderboard}: is not there; let `snakemake` make it, or name a trial") from error
    able = [
        trial
        for trial in trials
        if (trial["dataset"], trial["size"]) == (dataset, size)
        and (trial["encoder"], trial["trial"]) in rows
        and embeds_new_pictures(trial["encoder"])
    ]
    if not able:
        raise UserError(
            f"{leaderboard}: no trial of {dataset} at {size} px ended well and embeds new pictures; name another "
            "dataset in the config, `recommend: {dataset: ..., size: ...}`"
        )
    for column, words in MEASURES.items():
        scores = [_number(rows[trial["encoder"], trial["trial"]][column]) for trial in able]
        if all(map(math.isnan, scores)):
            continue
        best = max(range(len(able)), key=lambda each: -1 if math.isnan(scores[each]) else scores[each])
        measure = words.format(k=rows[able[best]["encoder"], able[best]["trial"]]["k"])
        return _folder(able[best]), f"the best on validation, with {measure} {100 * scores[best]:.1f} %"
    trained = [trial for trial in able if trial["stage"] == "train"]
    why = "the first trained encoder" if trained else "the first encoder"
    return _folder((trained or able)[0]), f"{why} of the config, as nothing was scored"


def _folder(trial: Mapping[str, Any]) -> str:
    return f"{trial['encoder']}/{trial['trial']}"


def _number(text: str) -> float:
    return float(text) if text else math.nan
