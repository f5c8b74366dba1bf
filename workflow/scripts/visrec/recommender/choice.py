"""Which trial recommends, where nobody names one: read from the leaderboard and the comparisons.

Light on purpose (no torch, no pandas): rule recommend asks while Snakemake plans.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visrec.data.models import USABLE
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Trial
from visrec.report import TABLES
from visrec.report.equals import cheapest, cost, equal_to
from visrec.report.headline import COMPARED, HEADLINE, HEADLINE_KNN, HEADLINE_SPACE, is_headline
from visrec.report.verdict import METRICS, Score, enumerate_words, percent, score

# Columns that are read as text, in which there is always something but for k, and of the leaderboard as numbers.
LEADERS = ("encoder", "trial", "k")
PAIRS = ("a", "b", "metric", "word")
SCORED = ("encoder", "trial", "split", "evaluator", "metric", "k", *HEADLINE, *HEADLINE_KNN)
COSTS = ("cost_seconds", "embed_images_per_second")
SCORES = ["n_seeds", *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high", "_chance"))]
VALIDATED = [f"val_{name}" for name in METRICS]


def embeds_new_pictures(encoder: str) -> bool:
    """Whether an encoder has features for pictures that are not in its images.h5."""
    return registry.declared("encoders", encoder).get("NEW_PICTURES", True)


def choose(leaderboard: str | Path, trials: Sequence[Trial], dataset: str, size: int) -> tuple[str, str]:
    """The cheapest trial that has no measurable difference from the best on validation, among each encoder's best.

    What has no measurable difference is what comparisons.csv, beside the leaderboard, says of the two on test: the
    report says the same. Cost decides between them, no score does. Of encoders that are equally good on validation, the
    first in the config is the best. Where pictures have no labels, nothing is scored: the first trained encoder of the
    config is taken, else the first.

    Args:
        leaderboard: tables/leaderboard.csv.
        trials: in the order of the config.
        dataset: whose trials.
        size: of the pictures.

    Returns:
        the trial as encoder/trial, and why it was taken.

    Raises:
        UserError: there is no leaderboard, or in it no trial of the dataset and size that ended well and embeds new
            pictures; or there are no comparisons.
    """
    leaderboard = Path(leaderboard)
    rows = _rows(leaderboard, dataset, size, [*LEADERS, "status"], [*COSTS, *VALIDATED])
    rows = {row["encoder"]: row for row in rows if row["status"] in USABLE}
    able = {
        trial.encoder: trial
        for trial in trials
        if (trial.dataset, trial.size) == (dataset, size)
        and rows.get(trial.encoder, {}).get("trial") == trial.name
        and embeds_new_pictures(trial.encoder)
    }
    if not able:
        raise UserError(
            f"{leaderboard}: no trial of {dataset} at {size} px ended well and embeds new pictures; name another "
            "dataset in the config, `recommend: {dataset: ..., size: ...}`"
        )
    for metric, label in METRICS.items():
        known = {encoder: rows[encoder][f"val_{metric}"] for encoder in able}
        known = {encoder: value for encoder, value in known.items() if not math.isnan(value)}
        if not known:
            continue
        best = max(known, key=known.__getitem__)
        others = leaderboard.with_name(TABLES["comparisons"])
        compared = _rows(others, dataset, size, PAIRS, ["difference", "low", "high"])
        equal = equal_to(best, able, compared, metric)
        chosen = cheapest(equal, rows)
        measured = label.format(k=rows[best]["k"])
        return _named(able[chosen]), _reason(best, equal, chosen, measured, cost(rows[chosen], able[chosen].stage))
    trained = [trial for trial in able.values() if trial.stage == "train"]
    why = "the first trained encoder" if trained else "the first encoder"
    return _named((trained or [*able.values()])[0]), f"{why} of the config, as nothing was scored"


def _reason(best: str, equal: Sequence[str], chosen: str, measured: str, price: str) -> str:
    """Why an encoder was taken: which others are as good, and that it is the cheapest of them."""
    others = [encoder for encoder in equal if encoder != best]
    if not others:
        return f"the best on validation ({measured}), and on test no other encoder is as good by that measure"
    return (
        f"the cheapest ({price}) of {enumerate_words([best, *others])}. {best} is the best on validation, and on test "
        f"there is no measurable difference between it and {enumerate_words(others)} ({measured})"
    )


def tested(leaderboard: str | Path, place: tuple[str, int], trial: str, space: tuple[str, str] = HEADLINE_SPACE) -> str:
    """What a trial, encoder/trial, scores on test with its interval and chance; "" where no table says it.

    From the leaderboard, the mean over seeds; of a trial that is not in it from scores.csv, of its seed alone.

    Args:
        leaderboard: tables/leaderboard.csv.
        place: dataset and size.
        trial: encoder/trial.
        space: features and distance by which pictures are compared. In another one than the headline's precision alone
            is known, of the trial's own seed.

    Raises:
        UserError: one of the tables is damaged.
    """
    leaderboard, (dataset, size) = Path(leaderboard), place
    rows = _rows(leaderboard, dataset, size, LEADERS, SCORES) if leaderboard.exists() else []
    for row in rows if space == HEADLINE_SPACE else ():
        if f"{row['encoder']}/{row['trial']}" != trial:
            continue
        for metric, label in METRICS.items():
            one = score(row, metric)
            if one.measured:
                seeds = f", the mean of {row['n_seeds']:.0f} seeds" if row["n_seeds"] > 1 else ""
                return f"{label.format(k=row['k'])} {one}{seeds}; chance is {percent(row[f'{metric}_chance'])}"
        return ""
    others, numbers = leaderboard.with_name(TABLES["scores"]), ["value", "low", "high", "chance"]
    found = _rows(others, dataset, size, SCORED, numbers) if rows and others.exists() else []
    own = [row for row in found if f"{row['encoder']}/{row['trial']}" == trial and row["split"] == "test"]
    if space != HEADLINE_SPACE:
        own = [row | HEADLINE_KNN for row in own if (row["features"], row["distance"]) == space]
    for metric, label in METRICS.items():
        for row in own:
            wanted = is_headline(row | {"k": row["k"] or None}, metric, rows[0]["k"])
            one = Score(row["value"], row["low"], row["high"])
            if wanted and row["evaluator"] == COMPARED[metric][0] and one.measured:
                return f"{label.format(k=row['k'])} {one}; chance is {percent(row['chance'])}"
    return ""


def _named(trial: Trial) -> str:
    return f"{trial.encoder}/{trial.name}"


def _rows(path: Path, dataset: str, size: int, texts: Sequence[str], numbers: Sequence[str]) -> list[Mapping[str, Any]]:
    """The rows of a table that are of a dataset and size, with some columns as numbers, NaN where they are empty.

    Raises:
        UserError: there is no table, or it lacks a column or a field.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            here = [row for row in csv.DictReader(file) if (row["dataset"], row["size"]) == (dataset, str(size))]
        for row in here:
            if None in [*row, *(row[name] for name in texts)]:
                raise ValueError("a line has not as many fields as the first")
        return [row | {name: float(row[name]) if row[name] else math.nan for name in numbers} for row in here]
    except FileNotFoundError as error:
        raise UserError(f"{path}: is not there; let `snakemake` make it, or name a trial") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: is no table of trials ({error}); delete it and run again") from error
