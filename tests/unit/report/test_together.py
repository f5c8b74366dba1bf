"""What the page says of several datasets together, from tables made by hand."""

import math

import pandas as pd
import pytest
from report_fixture import trial

from visrec.report.together import together

TRIALS = [trial("pixels", {}, dataset=dataset) for dataset in ("svhn", "digits")]
TRIALS += [trial("pca", {"components": 8}, dataset=dataset) for dataset in ("svhn", "digits")]


def leader(encoder, dataset, seconds, dimensions, chance):
    row = {"encoder": encoder, "dataset": dataset, "size": 32, "cost_seconds": seconds, "dimensions": dimensions}
    return row | {"precision_chance": chance, "embed_images_per_second": 100.0, "k": 3}


def tables(pca_seconds=(10.0, 50.0), means=(0.5, 0.25)):
    leaders = [
        leader("pixels", dataset, math.nan, 3072, chance) for dataset, chance in (("svhn", 0.1), ("digits", 0.2))
    ]
    leaders += [
        leader("pca", dataset, seconds, dimensions, chance)
        for dataset, seconds, dimensions, chance in zip(
            ("svhn", "digits"), pca_seconds, (128, 64), (0.1, 0.2), strict=True
        )
    ]
    overall = [
        {"encoder": encoder, "metric": "precision", "k": 3, "value": mean, "low": mean - 0.01, "high": mean + 0.01}
        for encoder, mean in zip(("pca", "pixels"), means, strict=True)
    ]
    pair = {"a": "pca", "b": "pixels", "metric": "precision", "difference": 0.25, "low": 0.2, "high": 0.3}
    return {
        "leaderboard": pd.DataFrame(leaders),
        "overall": pd.DataFrame([row | {"datasets": 2} for row in overall]),
        "overall_pairs": pd.DataFrame([pair | {"word": "better"}]),
    }


def test_the_best_by_the_means_and_its_mean_cost():
    found = together(tables(), TRIALS)
    assert found["datasets"] == 2
    assert found["chance"].replace("\N{NO-BREAK SPACE}", " ") == "15.0 %"  # of 0.1 and 0.2
    assert "25.0 points: 50.0" in found["lead"].by.replace("\N{NO-BREAK SPACE}", " ")
    assert found["lead"].certain == "Measurably better than pixels."
    assert found["costs"].replace("\N{NO-BREAK SPACE}", " ") == "pca: 30.0 s of fitting, 64 to 128 values per picture."
    assert [row["encoder"] for row in found["magnified"]["rows"]] == ["pca", "pixels"]


@pytest.mark.parametrize("seconds", [(10.0, math.nan), (math.nan, math.nan)])
def test_a_cost_that_was_not_measured_on_all_of_them_has_no_mean(seconds):
    """The mean of the others would be of other data."""
    assert "fitting not measured" in together(tables(seconds), TRIALS)["costs"]


def test_without_means_nothing_is_said():
    one = tables()
    one["overall"] = one["overall"][:0]
    assert together(one, TRIALS) is None
