"""spaces.csv: each encoder in the space that was best on validation, beside the headline's, in paired differences.

A space is what is done to features and a distance, see `visrec.scoring.transforms`. It is chosen on validation and read
on test, on the same queries in both spaces.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from visrec.data.query_scores import read_query_scores
from visrec.errors import UserError
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.comparisons import JUDGED, judge
from visrec.report.headline import GROUP, HEADLINE, HEADLINE_SPACE
from visrec.report.inputs import columns_of
from visrec.report.score_tables import best_spaces, of_chosen, pick
from visrec.scoring import intervals

COLUMNS = [*GROUP, "trial", "k", "features", "distance", *JUDGED]


def spaces(
    experiment: Experiment, chosen: Mapping[str, Sequence[Trial]], scores: pd.DataFrame, k: int
) -> list[dict[str, Any]]:
    """How much higher precision on test is in each encoder's best space than in the headline's: its `difference`.

    Seeds are paired, too: a network is compared with itself. All encoders are judged together, as pairs of encoders
    are in comparisons.csv; one whose best space is the headline's is "identical".

    Args:
        experiment: with the evaluators.
        chosen: encoder -> the seeds of its chosen setting, all of one dataset and size, and scored.
        scores: rows of scores.csv of this dataset and size. Of several seeds the first says which space is best.
        k: the headline's number of neighbours.

    Returns:
        Rows with the columns `COLUMNS`.

    Raises:
        UserError: a file of query scores is missing, damaged or without a space that knn.csv has.
    """
    first = of_chosen(scores, {encoder: seeds[0].name for encoder, seeds in chosen.items() if seeds})
    best, headline = best_spaces(first, k), pick(first, "knn", "precision", k)
    rows, contrasts = [], []
    for encoder, (features, distance) in best.items():
        if headline[encoder] is None:  # the config leaves the headline's space out
            continue
        found = _of_queries(experiment, chosen[encoder], (features, distance), k)
        draws = intervals.resample(found - _of_queries(experiment, chosen[encoder], HEADLINE_SPACE, k), intervals.SEED)
        contrasts.append(intervals.across_seeds(draws, intervals.SEED))
        about = columns_of(chosen[encoder][0], [*GROUP, "trial"])
        rows.append(about | {"k": k, "features": features, "distance": distance})
    judged = judge(np.stack(contrasts, axis=1)) if rows else []
    return [row | one for row, one in zip(rows, judged, strict=True)]


def _of_queries(experiment: Experiment, seeds: Sequence[Trial], space: tuple[str, str], k: int) -> np.ndarray:
    """Precision on test of each query in a space, float64 (S, Q)."""
    wanted = HEADLINE | {"metric": "precision", "k": k, "features": space[0], "distance": space[1]}
    found = []
    for trial in seeds:
        path = experiment.path(trial, layout.query_scores("knn"))
        if not path.exists():
            raise UserError(f"{path}: the scores of each query are missing; delete knn.csv and run again")
        queries = read_query_scores(path, "test")
        rows = [i for i, row in enumerate(queries.rows) if all(row[key] == value for key, value in wanted.items())]
        if not rows:
            raise UserError(f"{path}: has no scores of each query for {' and '.join(space)}; delete it and run again")
        found.append(queries.scores[rows[0]].copy())
    return np.stack(found)
