import json
from dataclasses import replace

import h5py
import intervals_fixture
import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from sklearn.datasets import load_digits

from visrec.data.csv_files import read_table
from visrec.data.files import write_json
from visrec.data.hdf5 import seal
from visrec.data.query_scores import read_query_scores
from visrec.errors import UserError
from visrec.report import TABLES, inputs, leaders
from visrec.report import tables as t
from visrec.report.cells import cells
from visrec.scoring import intervals
from visrec.scoring.atlas import COLUMNS


def write(root, trials, values, **more):
    results = fixture.build(root, trials, values, **more)
    t.tables(
        fixture.experiment(results, trials),
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
        "dataset,size,encoder,trial,seed,evaluator,protocol,metric,split,k,distance,features,average,duplicates,"
        "value,low,high,n,chance,majority,lift,status"
    )
    rows = scores.query("encoder == 'pca' and metric == 'precision' and split == 'test' and k == 3")
    row = rows.query("average == 'micro' and distance == 'l2' and features == 'raw' and duplicates == 'kept'").iloc[0]
    assert row["value"] == 0.975
    assert row["lift"] == pytest.approx((0.975 - 0.1) / 0.9)
    # 4 k x 3 splits, 3 decoys and a macro average on 2 splits, 1 self counted, 4 k x 2 splits, 1; svm 3 + 1 + 1
    assert len(scores) == 7 * (12 + 8 + 1 + 8 + 1 + 5)
    # A word that is not there is an empty one, as it was written.
    read_back = inputs.read_scores(fixture.experiment(standard, fixture.standard_trials(), ["svm"]))
    assert set(read_back["distance"]) == {""}


def test_the_trial_is_chosen_on_validation_and_read_on_test(standard):
    row = read(standard, "leaderboard").query("encoder == 'age'").iloc[0]
    # On test, lambda_z 1000 would win (0.969): it must not.
    assert row["trial"] == "lambda_z~500+mu_x~10+seed~0"
    assert row["chosen_by"] == "validation precision@3"
    names = ["val_precision", "precision", "knn_accuracy", "svm_accuracy"]
    assert list(row[names]) == pytest.approx([0.968, 0.960, 0.972, 0.962])
    assert (row["precision_low"], row["precision_high"]) == pytest.approx((0.95, 0.97), abs=0.0003)
    assert row["precision_lift"] == pytest.approx(0.86 / 0.9)
    assert (row["trials"], row["trials_ok"], row["n_seeds"], row["dimensions"]) == (4, 3, 1, 30)
    assert (row["majority"], row["precision_chance"], row["queries"]) == (0.12, 0.1, 100)
    assert row["setting"] == "lambda_z 500, mu_x 10"


def test_macro_precision_is_the_mean_over_classes(standard):
    row = read(standard, "leaderboard").query("encoder == 'age'").iloc[0]
    found = read_query_scores(standard / "digits" / "16px" / "age" / row["trial"] / "knn.h5", "test")
    scores = found.scores[found.rows.index(fixture.key("precision", "test", 3))]
    # Of the pictures themselves: the digit of each id, whatever the file of scores says.
    labels = load_digits().target[[int(name.removeprefix("digit-")) for name in found.ids]]
    per_class = [scores[labels == label].mean() for label in range(10)]
    assert row["macro_precision"] == pytest.approx(np.mean(per_class))
    low, high = intervals.interval(scores[None], 0, labels)
    assert (row["macro_precision_low"], row["macro_precision_high"]) == pytest.approx((low.item(), high.item()))
    assert row["macro_precision_chance"] == 0.11
    assert row["macro_precision_lift"] == pytest.approx((row["macro_precision"] - 0.11) / 0.89)


def test_cost_is_that_of_the_chosen_trials_own_stage(standard):
    cost = read(standard, "leaderboard").set_index("encoder")["cost_seconds"]
    assert cost["pca"] == 12.5 + 2  # third trial built
    assert cost["age"] == 41.2  # of all its starts, by status.json
    assert cost["pixels"] == 0


def test_a_missing_benchmark_is_not_measured(tmp_path):
    trials = [fixture.trial("pca", {})]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    for path in results.glob("benchmarks/fit/**/*.tsv"):
        path.unlink()
    experiment = fixture.experiment(results, trials)
    assert np.isnan(inputs.benchmark(experiment, "fit", trials[0])["s"])
    # Snakemake's MB have 2^20 bytes.
    assert inputs.benchmark(experiment, "embed", trials[0]) == {"s": 12.5, "max_rss": pytest.approx(419.954688)}


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
    # On val 0.968 beside 0.962, 0.955 and nothing; a quarter of a turn apart a difference is 0.014 to either side.
    assert list(grid["beside_chosen"].fillna("")) == ["", "not resolved", "not resolved", ""]


def test_a_setting_is_set_beside_the_chosen_one_query_by_query(tmp_path):
    trials = [fixture.age(lam, 10) for lam in (500, 1000, 2000)]
    values = dict.fromkeys((("age", one.name) for one in trials), (0.9, 0.9, 0.9, 0.9))
    values["age", trials[1].name] = (0.87, 0.9, 0.9, 0.9)
    grid = read(write(tmp_path, trials, values), "grid")
    assert list(grid["chosen"]) == [True, False, False]
    assert list(grid["beside_chosen"].fillna("")) == ["", "worse", "not resolved"]


def test_one_thing_changed_at_a_time(tmp_path):
    trials = fixture.one_at_a_time()
    values = {("age", one.name): (0.9 + number / 100,) * 4 for number, one in enumerate(trials)}
    results = write(tmp_path, trials, values)
    grid = read(results, "grid")
    # Every axis has a column, and every trial a value in it.
    assert list(grid.columns)[5:9] == ["lambda_z", "mu_x", "kl", "latent"]
    assert list(grid["latent"]) == [128] * 5 + [64]
    assert list(grid["kl"]) == ["reference", "exact"] + ["reference"] * 4
    assert list(grid["chosen"]) == [False] * 5 + [True]
    row = read(results, "leaderboard").iloc[0]
    assert (row["setting"], row["settings"]) == ("lambda_z 1000, mu_x 10, latent 64", 6)


def test_all_collapsed_gives_a_row_without_score(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    results = write(tmp_path, trials, {(one.encoder, one.name): None for one in trials})
    row = read(results, "leaderboard").iloc[0]
    assert (row["status"], row["trial"], row["trials_ok"], row["n_seeds"]) == ("collapsed", trials[0].name, 0, 0)
    assert np.isnan(row["precision"])
    assert row["cost_seconds"] == 41.2  # a failed training cost its time, too
    assert read(results, "layers").empty


def test_a_trial_that_is_not_evaluated_is_unfinished_and_not_chosen(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    (results / trials[0].folder / "knn.csv").unlink()
    t.tables(fixture.experiment(results, trials), {name: results / "tables" / file for name, file in TABLES.items()})
    assert read(results, "leaderboard")["trial"].item() == trials[1].name
    row = read(results, "grid").query("lambda_z == 500").iloc[0]
    assert (row["status"], row["reason"]) == ("unfinished", "not evaluated yet: knn")


def test_seeds_are_averaged_per_setting(tmp_path):
    trials = [fixture.age(lam, 10, seed) for lam in (500, 1000) for seed in (0, 1, 2)]
    names = {(one.options["lambda_z"], one.seed): ("age", one.name) for one in trials}
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
    # Both seeds as they are in the files; the widening of two seeds makes it far wider than 0.01 to either side.
    per_seed = [fixture.wave(value, 2 / 3 + (number - 3) / 4) for number, value in ((4, 0.48), (5, 0.52))]
    expected = intervals_fixture.over_seeds(np.array(per_seed), 0)
    assert tuple(row[["precision", "precision_low", "precision_high"]]) == pytest.approx(expected)
    assert row["precision_high"] - row["precision"] > 0.05


def test_limits_are_fractions(tmp_path):
    trials = [fixture.age(500, 10, seed) for seed in (0, 1)]
    values = {("age", one.name): (0.9, value, 0.9, 0.9) for one, value in zip(trials, (0.8, 0.999), strict=True)}
    row = read(write(tmp_path, trials, values), "leaderboard").iloc[0]
    assert row["precision_high"] == 1
    assert row["precision_low"] < 0.6


def test_a_missing_file_of_query_scores_is_an_error(tmp_path):
    trials = [fixture.trial("pixels", {}), fixture.trial("pca", {})]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    out = {name: results / "tables" / file for name, file in TABLES.items()}
    path = results / trials[1].folder / "svm.h5"
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=r"pca/seed~0/svm\.h5: the scores of each query are missing; delete svm\.csv"):
        t.tables(fixture.experiment(results, trials), out)
    path.write_bytes(kept)
    with h5py.File(path, "r+") as file:
        file["test/ids"][3] = "another"
    seal(path)
    with pytest.raises(UserError, match=r"svm\.h5: scores other test images than the other trials"):
        t.tables(fixture.experiment(results, trials), out)


def test_atlases_stand_one_below_the_other(standard, tmp_path):
    atlas = read(standard, "atlas")
    assert list(atlas) == ["dataset", "size", "encoder", "trial", "seed", *COLUMNS]
    # Of the untrained network and the three trials of AGE that did not collapse.
    trials = atlas["encoder"] + " " + atlas["trial"]
    assert list(trials.drop_duplicates()) == ["random seed~0"] + [
        f"age lambda_z~{lambda_z}+mu_x~{mu_x}+seed~0" for lambda_z, mu_x in ((500, 10), (1000, 10), (500, 50))
    ]
    assert set(trials.value_counts()) == {10}
    assert atlas["k"].dtype == atlas["dimensions"].dtype == int
    none = read(write(tmp_path / "none", [fixture.trial("pixels", {})], fixture.STANDARD), "atlas")
    assert list(none) == ["dataset", "size", "encoder", "trial", "seed"] and none.empty
    collapsed = [fixture.age(500, 10)]
    empty = read(write(tmp_path / "bad", collapsed, {("age", collapsed[0].name): None}), "atlas")
    assert list(empty) == list(atlas) and empty.empty


def test_layers_share_of_distance_is_the_mean_squared_pairwise_distance(standard):
    trial = fixture.standard_trials()[1]
    with h5py.File(standard / trial.folder / "embeddings.h5") as file:
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
    trial = fixture.trial("pca", {}, size=32)
    experiment = fixture.experiment("nowhere", [trial])
    assert inputs.statuses(experiment, scores)[trial.folder] == ("ok", "")
    scores["status"] = "not converged"
    assert inputs.statuses(experiment, scores)[trial.folder] == ("not converged", "")


def test_headline_k_falls_back_to_what_was_measured():
    rows = [fixture.key("precision", "test", k) | {"evaluator": "knn"} for k in (5, 10)]
    # Other harnesses' own k is none of ours.
    rows.append(fixture.key("precision", "test", 3, protocol="paper") | {"evaluator": "knn"})
    assert leaders.headline_k(pd.DataFrame(rows)) == 5
    rows.append(fixture.key("precision", "test", 3) | {"evaluator": "knn"})
    assert leaders.headline_k(pd.DataFrame(rows)) == 3
    assert leaders.headline_k(pd.DataFrame(columns=inputs.SCORES)) == 3


def test_the_plain_table_escapes(tmp_path):
    trials = [replace(fixture.trial("pixels", {"note": "<script>"}), axes=("note",))]
    results = write(tmp_path, trials, fixture.STANDARD)
    page = (results / "tables" / "leaderboard.html").read_text()
    assert "<script>" not in page
    assert "note &lt;script&gt;" in page
    assert "97.3\N{NO-BREAK SPACE}% [96.3, 98.3]" in page


def test_costs_of_embedding_and_memory_are_the_chosen_trials(standard):
    board = read(standard, "leaderboard").set_index("encoder")
    # Trials are built in the order pixels, random, pca, age ...: 2000 + number images per second, 400.5 + number MiB.
    speeds = board["embed_images_per_second"]
    assert (speeds["pixels"], speeds["pca"], speeds["age"]) == (2000, 2002, 2003)
    assert list(board.loc[["pixels", "age"], "peak_memory_mb"] / 1.048576) == pytest.approx([400.5, 403.5])
    assert set(board["peak_gpu_memory_mb"]) == {0}


def test_costs_that_no_file_records_are_missing(tmp_path):
    trials = [fixture.age(500, 10)]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    largest = results / "benchmarks/embed/digits/16px/age" / f"{trials[0].name}.tsv"
    largest.write_text(largest.read_text().replace("400.5", "900.5"))
    experiment = fixture.experiment(results, trials)
    more = leaders._cost(experiment, trials)["peak_memory_mb"]
    assert more == pytest.approx(900.5 * 1.048576)  # embedding needed more than training
    (results / trials[0].folder / "embed.json").unlink()
    for path in (results / "benchmarks").rglob("*.tsv"):
        path.unlink()
    status = results / trials[0].folder / "status.json"
    told = json.loads(status.read_text(encoding="utf-8"))
    write_json(status, {key: told[key] for key in ("status", "reason")})
    row = leaders._cost(experiment, trials)
    assert [key for key, value in row.items() if np.isnan(value)] == list(row)


def test_a_training_that_went_on_after_a_fault_costs_what_all_its_starts_took(tmp_path):
    """Snakemake measures the last one alone, and looks at its memory every so often."""
    trials = [fixture.age(500, 10)]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    status = results / trials[0].folder / "status.json"
    told = json.loads(status.read_text(encoding="utf-8"))
    write_json(status, told | {"starts": 2, "seconds": 3600.5, "memory_mb": 1156})
    row = leaders._cost(fixture.experiment(results, trials), trials)
    assert (row["cost_seconds"], row["peak_memory_mb"]) == (3600.5, 1156)


def test_an_unstable_trial_keeps_its_scores_and_its_reason(tmp_path):
    trials = [fixture.age(500, 10, seed) for seed in (0, 1)]
    values = {("age", trials[0].name): (0.5, 0.4, 0.4, 0.4), ("age", trials[1].name): (0.5, 0.6, 0.4, 0.4)}
    results = fixture.build(tmp_path, trials, values)
    path = results / trials[1].folder / "status.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, about | {"status": "unstable", "reason": "x is 2.00, above the healthy 1"})
    t.tables(fixture.experiment(results, trials), {name: results / "tables" / file for name, file in TABLES.items()})
    row = read(results, "leaderboard").iloc[0]
    assert (row["status"], row["reason"]) == ("unstable", "1 of 2 seeds, x is 2.00, above the healthy 1")
    assert (row["trials_ok"], row["precision"]) == (2, pytest.approx(0.5))
    grid = read(results, "grid")
    assert list(grid["status"]) == ["ok", "unstable"]
    assert list(grid["precision"]) == pytest.approx([0.4, 0.6])
    words = cells(grid, trials)["words"].to_numpy().ravel()
    assert len(words) == 1
    assert words[0].endswith("unstable")


@pytest.mark.parametrize("name", ["2024", "NA", "1e5", "True"])
def test_a_dataset_may_be_called_like_a_number_or_nothing(tmp_path, name):
    results = write(tmp_path, [fixture.trial("pixels", {}, dataset=name)], fixture.STANDARD)
    for table in ("scores", "leaderboard", "layers"):
        assert set(read_table(results / "tables" / f"{table}.csv")["dataset"]) == {name}


def test_classes_are_no_formulas(tmp_path, monkeypatch):
    """The names of classes.csv and confusion.csv are a user's."""
    rows = {"per_class": {"class": "=1"}, "confusion": {"class": "@a", "recommended": "-b"}}
    for name, row in rows.items():
        monkeypatch.setattr(t, name, lambda *arguments, row=row: [row])
    results = write(tmp_path, [fixture.trial("pixels", {})], fixture.STANDARD)
    assert read_table(results / "tables/classes.csv", text=["class"])["class"].tolist() == ["'=1"]
    found = read_table(results / "tables/confusion.csv", text=["class", "recommended"])
    assert found[["class", "recommended"]].to_numpy().tolist() == [["'@a", "'-b"]]
