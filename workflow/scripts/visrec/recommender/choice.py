"""Which trial recommends, where nobody names one: read from the leaderboard.

Light on purpose (no torch, no pandas): rule recommend asks while Snakemake plans.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from visrec.data.models import USABLE
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Trial

# Columns of the leaderboard to choose by, the first that anybody has a score in; {k} is the row's.
MEASURES = {
    "val_precision": "precision@{k}",
    "val_knn_accuracy": "accuracy of {k}-NN",
    "val_svm_accuracy": "accuracy of a linear SVM",
}


def embeds_new_pictures(encoder: str) -> bool:
    """Whether an encoder has features for pictures that are not in its images.h5."""
    return registry.declared("encoders", encoder).get("NEW_PICTURES", True)


def choose(leaderboard: str | Path, trials: Sequence[Trial], dataset: str, size: int) -> tuple[str, str]:
    """The trial that is best on validation, among each encoder's best.

    Of equals, and where pictures have no labels and nothing is scored, the order of the config decides; in the latter
    case trained encoders come first.

    Args:
        leaderboard: tables/leaderboard.csv.
        trials: in the order of the config.
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
                if (row["dataset"], row["size"]) == (dataset, str(size)) and row["status"] in USABLE
            }
        numbers = {key: {name: _number(row[name]) for name in MEASURES} | {"k": row["k"]} for key, row in rows.items()}
    except FileNotFoundError as error:
        raise UserError(f"{leaderboard}: is not there; let `snakemake` make it, or name a trial") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{leaderboard}: is no table of trials ({error}); delete it and run again") from error
    able = [
        trial
        for trial in trials
        if (trial.dataset, trial.size) == (dataset, size)
        and (trial.encoder, trial.name) in rows
        and embeds_new_pictures(trial.encoder)
    ]
    if not able:
        raise UserError(
            f"{leaderboard}: no trial of {dataset} at {size} px ended well and embeds new pictures; name another "
            "dataset in the config, `recommend: {dataset: ..., size: ...}`"
        )
    for column, label in MEASURES.items():
        scores = [numbers[trial.encoder, trial.name][column] for trial in able]
        if all(map(math.isnan, scores)):
            continue
        best = max(range(len(able)), key=lambda each: -1 if math.isnan(scores[each]) else scores[each])
        chosen = able[best]
        measure = label.format(k=numbers[chosen.encoder, chosen.name]["k"])
        return f"{chosen.encoder}/{chosen.name}", f"the best on validation, with {measure} {100 * scores[best]:.1f} %"
    trained = [trial for trial in able if trial.stage == "train"]
    why = "the first trained encoder" if trained else "the first encoder"
    chosen = (trained or able)[0]
    return f"{chosen.encoder}/{chosen.name}", f"{why} of the config, as nothing was scored"


def _number(text: str) -> float:
    return float(text) if text else math.nan
