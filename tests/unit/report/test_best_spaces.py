"""spaces.csv, from query scores made by hand."""

import intervals_fixture
import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from test_tables import read, write

from visrec.data.query_scores import write_query_scores
from visrec.errors import UserError
from visrec.experiment.layout import Experiment
from visrec.report.best_spaces import COLUMNS, spaces

QUERIES = 40
RAW, COSINE = ("raw", "l2"), ("output", "cosine")
IDS = np.array([f"q{number:02d}" for number in range(QUERIES)])
LABELS = np.zeros(QUERIES, np.int64)


def of_queries(share):
    """Scores of queries, of which this share are right; the same ones for every share."""
    return (np.arange(QUERIES) < share * QUERIES).astype(float)


def measured(tmp_path, *, val, test, seeds=1):
    """An experiment with one encoder of several seeds, and its scores: {space: value} of each seed, on both splits."""
    trials = [fixture.trial("pca", {"components": 2}, seed=seed) for seed in range(seeds)]
    table = []
    for trial, on_val, on_test in zip(trials, val, test, strict=True):
        folder = tmp_path / trial.folder
        folder.mkdir(parents=True)
        keys = {
            split: [fixture.key("precision", split, 3, features=f, distance=d) for f, d in values]
            for split, values in (("val", on_val), ("test", on_test))
        }
        scores = {"val": on_val, "test": on_test}
        for split, rows in keys.items():
            about = {"dataset": "digits", "size": 16, "encoder": "pca", "trial": trial.name, "evaluator": "knn"}
            table += [row | about | {"value": v.mean()} for row, v in zip(rows, scores[split].values(), strict=True)]
        write_query_scores(
            folder / "knn.h5",
            dict.fromkeys(keys, (IDS, LABELS)),
            keys,
            {split: np.stack([*values.values()]) for split, values in scores.items()},
        )
    return Experiment(tmp_path, trials, ["knn"]), {"pca": trials}, pd.DataFrame(table)


def test_the_space_is_chosen_on_validation_and_read_on_test(tmp_path):
    val = [{RAW: of_queries(0.5), COSINE: of_queries(0.6)}]
    raw, cosine = of_queries(0.3), of_queries(0.6)
    (row,) = spaces(*measured(tmp_path, val=val, test=[{RAW: raw, COSINE: cosine}]), 3)
    assert list(row) == COLUMNS
    assert (row["features"], row["distance"], row["word"]) == ("output", "cosine", "better")
    expected = intervals_fixture.difference(cosine[None], raw[None], 0)
    assert (row["difference"], row["alone_low"], row["alone_high"]) == pytest.approx(expected)
    assert 0 < row["low"] <= row["alone_low"] < row["alone_high"] <= row["high"]


def test_higher_on_test_alone_is_not_chosen(tmp_path):
    val = [{RAW: of_queries(0.6), COSINE: of_queries(0.6)}]  # of equals the headline's
    (row,) = spaces(*measured(tmp_path, val=val, test=[{RAW: of_queries(0.3), COSINE: of_queries(0.9)}]), 3)
    assert (row["features"], row["distance"], row["difference"], row["word"]) == ("raw", "l2", 0.0, "identical")


def test_a_difference_within_its_interval_is_not_resolved(tmp_path):
    val = [{RAW: of_queries(0.5), COSINE: of_queries(0.6)}]
    other = np.roll(of_queries(0.35), 20)  # other queries are right
    (row,) = spaces(*measured(tmp_path, val=val, test=[{RAW: of_queries(0.3), COSINE: other}]), 3)
    assert row["difference"] == pytest.approx(0.05)
    assert row["low"] < 0 < row["high"]
    assert row["word"] == "not resolved"


def test_seeds_are_paired(tmp_path):
    # Seeds are far apart, and in both the space is worth 0.1: the spread of the seeds is no part of the difference.
    val = 2 * [{RAW: of_queries(0.5), COSINE: of_queries(0.6)}]
    test = [{RAW: of_queries(share), COSINE: np.ones(QUERIES) * 0.1 + of_queries(share)} for share in (0.2, 0.8)]
    (row,) = spaces(*measured(tmp_path, val=val, test=test, seeds=2), 3)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0.1, 0.1, 0.1))


def test_without_the_headlines_space_there_is_nothing_to_compare(tmp_path):
    only = [{COSINE: of_queries(0.6)}]
    assert spaces(*measured(tmp_path, val=only, test=only), 3) == []


def test_a_file_without_a_space_that_the_table_has_is_one_line(tmp_path):
    val = [{RAW: of_queries(0.5), COSINE: of_queries(0.6)}]
    given = measured(tmp_path, val=val, test=[{RAW: of_queries(0.3)}])
    with pytest.raises(UserError, match=r"knn\.h5: has no scores of each query for output and cosine"):
        spaces(*given, 3)
    (tmp_path / given[1]["pca"][0].folder / "knn.h5").unlink()
    with pytest.raises(UserError, match=r"knn\.h5: the scores of each query are missing"):
        spaces(*given, 3)


def test_the_table_has_a_row_for_each_encoder_that_is_scored(tmp_path):
    trials = [fixture.trial("pixels", {}), fixture.age(500, 10)]
    results = write(tmp_path, trials, fixture.STANDARD | {("age", trials[1].name): None})
    rows = read(results, "spaces")
    assert list(rows) == COLUMNS
    assert list(rows["encoder"]) == ["pixels"]
