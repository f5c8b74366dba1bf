"""The scores of each query of all trials of a dataset and size, resampled together.

Every interval over several seeds and every comparison comes from the same draws of queries, so they agree and are
paired. Draws are held by (encoder, name of the trial, name of the score), each float64 (1 + intervals.RESAMPLES,) as
`intervals.resample` makes them.
"""

from collections.abc import Iterable

import numpy as np

from visrec.data.query_scores import QueryScores, read_query_scores
from visrec.errors import UserError
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.headline import COMPARED, MACRO, is_headline
from visrec.scoring import intervals

Draws = dict[tuple[str, str, str], np.ndarray]


def resampled(experiment: Experiment, split: str, k: int) -> Draws:
    """Resample the scores of a split of all trials of one dataset and size, with the same draws.

    Args:
        experiment: with those trials of one dataset and size that are scored.
        split: "val" or "test".
        k: the headline's number of neighbours.

    Returns:
        Draws of all scores in `COMPARED` that are there, and of the macro precision as "macro_precision".

    Raises:
        UserError: a file of query scores is missing, or not of the same images as the others.
    """
    keys: list[tuple[str, str, str]] = []
    rows: list[np.ndarray] = []
    first: QueryScores | None = None
    wanted = dict.fromkeys(evaluator for evaluator, _ in COMPARED.values() if evaluator in experiment.evaluators)
    for trial in experiment.trials:
        for evaluator in wanted:
            path = experiment.path(trial, layout.query_scores(evaluator))
            if not path.exists():
                raise UserError(f"{path}: the scores of each query are missing; delete {evaluator}.csv and run again")
            found = read_query_scores(path, split)
            first = first or found
            if not np.array_equal(found.ids, first.ids):
                raise UserError(f"{path}: scores other {split} images than the other trials; delete it and run again")
            for name, (own, _) in COMPARED.items():
                matching = [i for i, row in enumerate(found.rows) if own == evaluator and is_headline(row, name, k)]
                if matching:
                    keys.append((trial.encoder, trial.name, name))
                    rows.append(found.scores[matching[0]].copy())  # a view would keep all of the trial's
    if first is None or not rows:
        return {}
    draws = dict(zip(keys, intervals.resample(np.stack(rows), intervals.SEED).T, strict=True))
    precise = [i for i, (_, _, name) in enumerate(keys) if name == "precision"]
    if precise:
        macro = intervals.resample(np.stack([rows[i] for i in precise]), intervals.SEED, first.labels)
        draws |= {(*keys[i][:2], MACRO): column for i, column in zip(precise, macro.T, strict=True)}
    return draws


def of_seeds(draws: Draws, seeds: Iterable[Trial], name: str) -> np.ndarray:
    """The draws of one score of a setting's seeds, float64 (1 + intervals.RESAMPLES, S); S = 0 if there are none."""
    found = [draws[key] for trial in seeds if (key := (trial.encoder, trial.name, name)) in draws]
    return np.stack(found, axis=1) if found else np.empty((1 + intervals.RESAMPLES, 0))


def score(draws: Draws, seeds: Iterable[Trial], name: str) -> dict[str, float]:
    """`value` of a setting's score, the mean over its seeds, with the limits `low` and `high`, cut to [0, 1]."""
    value, low, high = intervals.summary(intervals.across_seeds(of_seeds(draws, seeds, name), intervals.SEED))
    # The widening for few seeds knows no bounds; a score that is a fraction does.
    return {"value": float(value), "low": float(np.maximum(low, 0)), "high": float(np.minimum(high, 1))}
