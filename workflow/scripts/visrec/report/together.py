"""The answer of all datasets and sizes together, where there are several."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.experiment.trials import Trial
from visrec.report.facts import costs, label_free
from visrec.report.inputs import disclosures, titles
from visrec.report.lead import lead
from visrec.report.leaderboard import magnified
from visrec.report.verdict import common, percent, score


def _mean_of_all(known: pd.Series) -> float:
    """NaN where one was not measured: the mean of the others would be of other data."""
    return known.mean(skipna=False)


def together(tables: Mapping[str, pd.DataFrame], trials: Sequence[Trial]) -> dict[str, Any] | None:
    """What the page says of the plain means of the encoders that are on all datasets and sizes; None without means.

    Args:
        tables: leaderboard, overall and overall_pairs, by these names.
        trials: of all datasets and sizes.

    Returns:
        verdict; lead; label_free and costs, sentences; magnified, the plot of the means; chance, as text; datasets,
        how many there are.
    """
    means = tables["overall"][tables["overall"]["metric"] == "precision"]
    if means.empty:
        return None
    leaders, pairs = tables["leaderboard"], tables["overall_pairs"].to_dict("records")
    chance = float(leaders.groupby(["dataset", "size"], sort=False)["precision_chance"].first().mean())
    disclosed = disclosures(trials)
    paid = leaders.groupby("encoder").agg(
        cost_seconds=("cost_seconds", _mean_of_all),
        embed_images_per_second=("embed_images_per_second", _mean_of_all),
        dimensions=("dimensions", "max"),
        least_dimensions=("dimensions", "min"),
    )
    board = means.rename(columns={"value": "precision", "low": "precision_low", "high": "precision_high"})
    rows = board.join(paid, on="encoder").to_dict("records")
    return {
        "verdict": common(means.to_dict("records"), pairs, chance, disclosed, titles(trials)),
        "lead": lead({row["encoder"]: score(row, "precision") for row in rows}, pairs, disclosed),
        "label_free": label_free(rows, pairs, disclosed),
        "costs": costs(rows, pairs, {trial.encoder: trial.stage for trial in trials}, disclosed),
        "magnified": magnified(rows, chance),
        "chance": percent(chance),
        "datasets": int(means["datasets"].iloc[0]),
    }
