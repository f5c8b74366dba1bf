import h5py
import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture

from visrec.report import TABLES
from visrec.report import tables as t


def write(root, trials, values, **more):
    results = fixture.build(root, trials, values, **more)
    t.tables(
        results,
        fixture.dumped(trials),
        ["knn", "svm"],
        {name: results / "tables" / file for name, file in TABLES.items()},
    )
    return results


def read(results, name):
    return pd.read_csv(results / "tables" / f"{name}.csv")


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    return write(tmp_path_factory.mktemp("standard"), fixture.standard_trials(), fixture.STANDARD)


def test_scores_have_the_columns_and_lift(standard):
    scores = read(standard, "scores")
    assert ",".join(scores) == (
        "dataset,size,encoder,trial,seed,evaluator,metric,split,k,value,low,high,n,chance,majority,lift,status"
    )
    row = scores.query("encoder == 'pca' and metric == 'precision' and split == 'test' and k == 3").iloc[0]
    assert row["value"] == 0.975
    assert row["lift"] == pytest.approx((0.975 - 0.1) / 0.9)
    # 4 precision k x 3 splits + 1 self counted + 4 k x 2 splits + 3 + 1, for 7 trials
    assert len(scores) == 7 * (12 + 1 + 8 + 4)


def test_the_trial_is_chosen_on_validation_and_read_on_test(standard):
    row = read(standard, "leaderboard").query("encoder == 'age'").iloc[0]
    # On test, lambda_z 1000 would win (0.969): it must not.
    assert row["trial"] == "lambda_z~500+mu_x~10+seed~0"
    assert row["chosen_by"] == "validation precision@3"
    assert (row["val_precision"], row["precision"], row["knn_accuracy"], row["svm_accuracy"]) == (
        0.968,
        0.960,
        0.972,
        0.962,
    )
    assert (row["precision_low"], row["precision_high"]) == (pytest.approx(0.95), pytest.approx(0.97))
    assert row["precision_lift"] == pytest.approx(0.86 / 0.9)
    assert (row["trials"], row["trials_ok"], row["n_seeds"], row["dimensions"]) == (4, 3, 1, 30)
    assert (row["majority"], row["precision_chance"], row["queries"]) == (0.12, 0.1, 100)
    assert row["setting"] == "lambda_z 500, mu_x 10"


def test_cost_is_that_of_the_chosen_trials_own_stage(standard):
    cost = read(standard, "leaderboard").set_index("encoder")["cost_seconds"]
    assert cost["pca"] == 12.5 + 2  # third trial built
    assert cost["age"] == 12.5 + 3
    assert cost["pixels"] == 0


def test_a_missing_benchmark_is_not_measured(tmp_path):
    trials = [fixture.trial("pca", {}, stage="fit")]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    for path in results.glob("benchmarks/fit/**/*.tsv"):
        path.unlink()
    assert np.isnan(t.benchmark(results, "fit", trials[0])["s"])
    assert t.benchmark(results, "embed", trials[0]) == {"s": 12.5, "max_rss": 400.5}


def test_leaderboard_is_sorted_by_test_precision(standard):
    assert list(read(standard, "leaderboard")["encoder"]) == ["pca", "pixels", "age", "random"]


def test_a_collapsed_trial_keeps_its_row_and_reason(standard):
    grid = read(standard, "grid")
    assert list(grid["encoder"].unique()) == ["age"]
    row = grid.query("lambda_z == 1000 and mu_x == 50").iloc[0]
    assert row["status"] == "collapsed"
    assert row["reason"] == fixture.REASON
    assert np.isnan(row["val_precision"])
    assert np.isnan(row["precision"])
    assert list(grid.loc[grid["chosen"], "trial"]) == ["lambda_z~500+mu_x~10+seed~0"]


def test_all_collapsed_gives_a_row_without_score(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    results = write(tmp_path, trials, {(one["encoder"], one["trial"]): None for one in trials})
    row = read(results, "leaderboard").iloc[0]
    assert (row["status"], row["trial"], row["trials_ok"], row["n_seeds"]) == ("collapsed", trials[0]["trial"], 0, 0)
    assert np.isnan(row["precision"])
    assert row["cost_seconds"] == 12.5  # a failed training cost its time, too
    assert read(results, "layers").empty


def test_a_trial_that_is_not_evaluated_is_unfinished_and_not_chosen(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    (t.folder(results, trials[0]) / "knn.csv").unlink()
    t.tables(results, trials, ["knn", "svm"], {name: results / "tables" / file for name, file in TABLES.items()})
    assert read(results, "leaderboard")["trial"].item() == trials[1]["trial"]
    row = read(results, "grid").query("lambda_z == 500").iloc[0]
    assert (row["status"], row["reason"]) == ("unfinished", "not evaluated yet: knn")


def test_seeds_are_averaged_per_setting(tmp_path):
    trials = [fixture.age(lam, 10, seed) for lam in (500, 1000) for seed in (0, 1, 2)]
    names = {(one["options"]["lambda_z"], one["seed"]): ("age", one["trial"]) for one in trials}
    values = {
        # The best single seed is of 500, the best mean is of 1000.
        names[500, 0]: (0.60, 0.60, 0.5, 0.5),
        names[500, 1]: (0.30, 0.30, 0.5, 0.5),
        names[500, 2]: (0.30, 0.30, 0.5, 0.5),
        names[1000, 0]: None,
        names[1000, 1]: (0.50, 0.48, 0.5, 0.5),
        names[1000, 2]: (0.50, 0.52, 0.5, 0.5),
    }
    results = write(tmp_path, trials, values)
    row = read(results, "leaderboard").iloc[0]
    assert row["trial"] == "lambda_z~1000+mu_x~10+seed~1"  # the lowest seed that ended well
    assert (row["n_seeds"], row["seeds"], row["trials"], row["trials_ok"]) == (2, 3, 6, 5)
    assert row["precision"] == pytest.approx(0.50)
    # t(0.975, 1) = 12.7062; s / sqrt(2) = 0.02: half-width sqrt(0.01^2 + 0.254124^2)
    assert row["precision_low"] == pytest.approx(0.50 - np.hypot(0.01, 12.7062047 * 0.02), abs=1e-6)
    assert row["precision_high"] == pytest.approx(0.50 + np.hypot(0.01, 12.7062047 * 0.02), abs=1e-6)


def test_over_seeds_of_one_seed_is_its_own_interval():
    assert t.over_seeds(pd.DataFrame({"value": [0.5], "low": [0.4], "high": [0.7]})) == {
        "value": 0.5,
        "low": 0.4,
        "high": 0.7,
    }


def test_layers_share_of_distance_is_the_mean_squared_pairwise_distance(standard):
    trial = fixture.standard_trials()[1]
    with h5py.File(t.folder(standard, trial) / "embeddings.h5") as file:
        features = file["train/features"][:].astype(float)
    # Independent of variances: all pairs, layer by layer.
    squared = (features[:, None] - features[None]) ** 2
    per_column = squared.mean(axis=(0, 1))
    layers = read(standard, "layers").query("encoder == 'random'").set_index("layer")
    for name, columns in {"conv2": slice(0, 6), "conv3": slice(6, 26), "output": slice(26, 30)}.items():
        assert layers.loc[name, "share_of_distance"] == pytest.approx(
            per_column[columns].sum() / per_column.sum(), rel=1e-9
        )
        assert (layers.loc[name, "start"], layers.loc[name, "stop"]) == (columns.start, columns.stop)
    assert layers.loc["conv3", "share_of_dimensions"] == pytest.approx(20 / 30)
    assert read(standard, "layers").query("encoder == 'pixels'")["share_of_distance"].item() == 1


def test_one_evaluator_without_a_score_spoils_no_other():
    scores = pd.DataFrame(
        {
            "dataset": "digits",
            "size": 32,
            "encoder": "pca",
            "trial": "seed~0",
            "evaluator": ["knn", "svm"],
            "status": ["ok", "not converged"],
        }
    )
    trial = {"dataset": "digits", "size": 32, "encoder": "pca", "trial": "seed~0"}
    key = ("digits", 32, "pca", "seed~0")
    assert t.statuses("nowhere", [trial], scores, ["knn", "svm"])[key] == ("ok", "")
    scores["status"] = "not converged"
    assert t.statuses("nowhere", [trial], scores, ["knn", "svm"])[key] == ("not converged", "")


def test_a_seed_without_a_value_leaves_the_others():
    rows = pd.DataFrame({"value": [0.5, float("nan")], "low": [0.4, float("nan")], "high": [0.7, float("nan")]})
    assert t.over_seeds(rows) == {"value": 0.5, "low": 0.4, "high": 0.7}


def test_headline_k_falls_back_to_what_was_measured():
    scores = pd.DataFrame({"evaluator": "knn", "metric": "precision", "k": [5, 10]})
    assert t.headline_k(scores) == 5
    assert t.headline_k(pd.DataFrame({"evaluator": "knn", "metric": "precision", "k": [1, 3]})) == 3


def test_the_plain_table_escapes(tmp_path):
    trials = [fixture.trial("pixels", {"note": "<script>"}, headline=["note"])]
    trials[0]["trial"] = "seed~0"
    results = write(tmp_path, trials, fixture.STANDARD)
    page = (results / "tables" / "leaderboard.html").read_text()
    assert "<script>" not in page
    assert "note &lt;script&gt;" in page
    assert "97.3\N{NO-BREAK SPACE}% [96.3, 98.3]" in page
