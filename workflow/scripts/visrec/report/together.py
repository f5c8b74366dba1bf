"""The answer of all datasets and sizes together, where there are several."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.experiment.trials import Trial
from visrec.report.inputs import disclosures
from visrec.report.leaderboard import magnified
from visrec.report.verdict import common, percent


def together(tables: Mapping[str, pd.DataFrame], trials: Sequence[Trial]) -> dict[str, Any] | None:
    """What the page says of the plain means of the encoders that are on all datasets and sizes; None without means.

    Args:
        tables: leaderboard, overall and overall_pairs, by these names.
        trials: of all datasets and sizes.

    Returns:
        verdict; magnified, the plot of the means; chance, as text; datasets, how many there are.
    """
    means = tables["overall"][tables["overall"]["metric"] == "precision"]
    if means.empty:
        return None
    chance = tables["leaderboard"].groupby(["dataset", "size"], sort=False)["precision_chance"].first().mean()
    said = common(
        means.to_dict("records"), tables["overall_pairs"].to_dict("records"), float(chance), disclosures(trials)
    )
    board = means.rename(columns={"value": "precision", "low": "precision_low", "high": "precision_high"})
    return {
        "verdict": said,
        "magnified": magnified(board.to_dict("records")),
        "chance": percent(chance),
        "datasets": int(means["datasets"].iloc[0]),
    }
