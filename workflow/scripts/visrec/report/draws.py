"""What the tables set side by side: the scores of each query, of all trials of a dataset and size, resampled together.

Every interval over several seeds and every comparison comes from the same draws of queries, so they agree and are
paired. Draws are held by (encoder, trial, name of the score), each float64 (1 + intervals.RESAMPLES,) as
`intervals.resample` makes them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visrec.data.query_scores import QueryScores, read_query_scores
from visrec.errors import UserError
from visrec.experiment.trials import Trial
from visrec.scoring import intervals

GROUP = ["dataset", "size", "encoder"]
# Which of an evaluator's rows the leaderboard reads; of knn's also those below.
HEADLINE = {"protocol": "visrec", "average": "micro", "duplicates": "kept"}
HEADLINE_KNN = {"distance": "l2", "features": "raw"}
# column of the leaderboard: (evaluator, metric)
SOURCES = {"precision": ("knn", "precision"), "knn_accuracy": ("knn", "accuracy"), "svm_accuracy": ("svm", "accuracy")}
COMPARED = SOURCES | {"map_at_r": ("knn", "map_at_r")}
AT_K = ("precision", "knn_accuracy")
MACRO = "macro_precision"

Draws = dict[tuple[str, str, str], np.ndarray]


def typed(trials: Iterable[Any]) -> list[Trial]:
    """Trials given as records, as `Trial`s."""
    fields = ("dataset", "size", "encoder", "options", "seed", "trial", "axes", "grid")
    return [Trial(*(one[key] for key in fields)) if isinstance(one, Mapping) else one for one in trials]


def _of(trial: Any, name: str) -> Any:
    return trial[name] if isinstance(trial, Mapping) else getattr(trial, name)


def folder(results_dir: str | Path, trial: Mapping[str, Any]) -> Path:
    """A trial's folder."""
    return Path(results_dir) / trial["dataset"] / f"{trial['size']}px" / trial["encoder"] / trial["trial"]


def setting(trial: Mapping[str, Any]) -> str:
    """What seeds of one setting have in common: the options, as text."""
    return json.dumps(_of(trial, "options"), sort_keys=True)


def named(trial: Mapping[str, Any]) -> list[str]:
    """The options that may differ between trials of its encoder: headline keys, then the other axes of the grid."""
    return list(dict.fromkeys([*trial["headline"], *trial["grid"]]))


def words(trial: Mapping[str, Any]) -> str:
    """A setting for people: "lambda_z 500, mu_x 10"; of a list of grids, what its own one does not set is left out."""
    return listed(trial, dict.fromkeys([*_of(trial, "headline"), *_of(trial, "axes")]))


def listed(trial: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Some options with their values: "lambda_z 500, mu_x 10"."""
    return ", ".join(f"{key} {_of(trial, 'options')[key]}" for key in keys)


def by_setting(trials: Iterable[Mapping]) -> dict[str, list[Mapping]]:
    """Trials of one dataset, size and encoder by setting: settings in the order given, their seeds ascending."""
    found: dict[str, list[Mapping]] = {}
    for trial in trials:
        found.setdefault(setting(trial), []).append(trial)
    return {text: sorted(members, key=lambda trial: trial["seed"]) for text, members in found.items()}


def k_of(name: str, k: int) -> int | None:
    """The k of a score in `COMPARED`, given the headline's; None for those that have none."""
    return k if name in AT_K else None


def is_headline(row: Mapping[str, Any], name: str, k: int) -> bool:
    """Whether a row of an evaluator's scores is the one that a name in `COMPARED` stands for."""
    evaluator, metric = COMPARED[name]
    wanted = HEADLINE | (HEADLINE_KNN if evaluator == "knn" else {}) | {"metric": metric, "k": k_of(name, k)}
    return all(row[key] == value for key, value in wanted.items())


def resampled(
    results_dir: str | Path, trials: Iterable[Mapping], evaluators: Sequence[str], split: str, k: int
) -> Draws:
    """Resample the scores of a split of all trials of one dataset and size, with the same draws.

    Args:
        results_dir: results/{experiment}.
        trials: those that are scored, as for `tables.tables`.
        evaluators: names of the evaluators that were run.
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
    for trial in trials:
        for evaluator in dict.fromkeys(evaluator for evaluator, _ in COMPARED.values() if evaluator in evaluators):
            path = folder(results_dir, trial) / f"{evaluator}.h5"
            if not path.exists():
                raise UserError(f"{path}: the scores of each query are missing; delete {evaluator}.csv and run again")
            found = read_query_scores(path, split)
            first = first or found
            if not np.array_equal(found.ids, first.ids):
                raise UserError(f"{path}: scores other {split} images than the other trials; delete it and run again")
            for name, (own, _) in COMPARED.items():
                matching = [i for i, row in enumerate(found.rows) if own == evaluator and is_headline(row, name, k)]
                if matching:
                    keys.append((trial["encoder"], trial["trial"], name))
                    rows.append(found.scores[matching[0]])
    if first is None or not rows:
        return {}
    draws = dict(zip(keys, intervals.resample(np.stack(rows), intervals.SEED).T, strict=True))
    precise = [i for i, (_, _, name) in enumerate(keys) if name == "precision"]
    if precise:
        macro = intervals.resample(np.stack([rows[i] for i in precise]), intervals.SEED, first.labels)
        draws |= {(*keys[i][:2], MACRO): column for i, column in zip(precise, macro.T, strict=True)}
    return draws


def of_seeds(draws: Draws, members: Iterable[Mapping], name: str) -> np.ndarray:
    """The draws of one score of a setting's seeds, float64 (1 + intervals.RESAMPLES, S); S = 0 if there are none."""
    found = [draws[key] for trial in members if (key := (trial["encoder"], trial["trial"], name)) in draws]
    return np.stack(found, axis=1) if found else np.empty((1 + intervals.RESAMPLES, 0))


def score(draws: Draws, members: Iterable[Mapping], name: str) -> dict[str, float]:
    """`value` of a setting's score, the mean over its seeds, with the limits `low` and `high`, cut to [0, 1]."""
    value, low, high = intervals.summary(intervals.across_seeds(of_seeds(draws, members, name), intervals.SEED))
    # The widening for few seeds knows no bounds; a score that is a fraction does.
    return {"value": float(value), "low": float(np.maximum(low, 0)), "high": float(np.minimum(high, 1))}
