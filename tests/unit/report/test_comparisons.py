import itertools

import intervals_fixture
import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from test_tables import read, write

from visrec.data.files import write_text
from visrec.data.query_scores import read_lists, write_query_scores
from visrec.errors import UserError
from visrec.report import comparisons as c
from visrec.report.resampled import resampled
from visrec.scoring import health, intervals

NAN = np.nan


def waves(numbers, values):
    """The scores of AGE's trials with these places in the list of trials."""
    return np.array([fixture.wave(value, 2 / 3 + (n - 3) / 4) for n, value in zip(numbers, values, strict=True)])


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    return write(tmp_path_factory.mktemp("standard"), fixture.standard_trials(), fixture.STANDARD)


def test_every_pair_stands_once_in_the_order_of_the_leaderboard(standard):
    rows = read(standard, "comparisons")
    assert (
        ",".join(rows)
        == "dataset,size,metric,k,a,b,trial_a,trial_b,seeds_a,seeds_b,difference,low,high,alone_low,alone_high,word"
    )
    assert list(rows["metric"].unique()) == ["precision", "knn_accuracy", "svm_accuracy", "map_at_r"]
    here = rows[rows["metric"] == "precision"]
    order = ["pca", "pixels", "age", "random"]
    assert list(zip(here["a"], here["b"], strict=True)) == [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    assert set(here["k"]) == {3}
    assert rows.loc[rows["metric"].isin(["svm_accuracy", "map_at_r"]), "k"].isna().all()
    assert set(here.loc[here["b"] == "age", "trial_b"]) == {"lambda_z~500+mu_x~10+seed~0"}  # the chosen setting
    assert set(rows["seeds_a"]) == set(rows["seeds_b"]) == {1}


def test_differences_are_those_of_the_paired_queries(standard):
    rows = read(standard, "comparisons").set_index(["metric", "a", "b"])
    # pca 0.975, age 0.960; 100 queries, a third of a turn apart.
    expected = intervals_fixture.difference(fixture.wave(0.975, 1 / 3)[None], fixture.wave(0.960, 2 / 3)[None], 0)
    row = rows.loc["precision", "pca", "age"]
    assert tuple(row[["difference", "alone_low", "alone_high"]]) == pytest.approx(expected)
    assert row["low"] < row["alone_low"] < row["alone_high"] < row["high"]  # of six pairs
    assert row["word"] == "not resolved"
    # Pixels and random rise and fall together: separate intervals of 0.02 touch, the paired one has no width.
    row = rows.loc["svm_accuracy", "pixels", "random"]
    assert tuple(row[["difference", "low", "high"]]) == pytest.approx((0.012,) * 3)
    assert row["word"] == "better"
    # A higher place in the leaderboard says nothing of another metric.
    assert rows.loc["svm_accuracy", "pixels", "age"]["difference"] == pytest.approx(0.952 - 0.962)
    assert rows.loc["map_at_r", "pca", "age"]["difference"] == pytest.approx(0.015)


def test_all_seeds_of_both_are_compared(tmp_path):
    trials = [fixture.trial("pixels", {}), *(fixture.age(500, 10, seed) for seed in range(3))]
    tests = (0.91, 0.92, 0.96)
    values = {("pixels", "seed~0"): (0.8, 0.8, 0.8, 0.8)}
    values |= {("age", one.name): (0.9, value, 0.9, 0.9) for one, value in zip(trials[1:], tests, strict=True)}
    row = read(write(tmp_path, trials, values), "comparisons").iloc[0]
    assert (row["a"], row["seeds_a"], row["b"], row["seeds_b"]) == ("age", 3, "pixels", 1)
    expected = intervals_fixture.difference(waves((1, 2, 3), tests), fixture.wave(0.8, 0)[None], 0)
    assert tuple(row[["difference", "alone_low", "alone_high"]]) == pytest.approx(expected)
    assert row["word"] == "better"


def test_what_collapsed_is_not_measured(tmp_path):
    trials = [fixture.trial("pixels", {}), fixture.age(500, 10)]
    results = write(tmp_path, trials, fixture.STANDARD | {("age", trials[1].name): None})
    rows = read(results, "comparisons")
    assert set(rows["word"]) == {"not measured"}
    assert set(rows["seeds_b"]) == {0}
    assert rows["difference"].isna().all()
    none = read(write(tmp_path / "none", trials[1:], {("age", trials[1].name): None}), "comparisons")
    assert none.empty and list(none) == c.COMPARISONS


# --- over datasets


def two_datasets(root, **more):
    trials = [*fixture.standard_trials()[:3], *fixture.standard_trials(dataset="svhn", **more)[:2]]
    return write(root, trials, fixture.STANDARD)


def test_overall_is_of_encoders_that_are_everywhere(tmp_path):
    results = two_datasets(tmp_path)
    rows = read(results, "overall")
    assert ",".join(rows) == "encoder,metric,datasets,value,low,high"
    here = rows[rows["metric"] == "precision"]
    assert list(here["encoder"]) == ["pixels", "random"]  # pca is on one dataset only; best first
    assert list(here["value"]) == pytest.approx([0.973, 0.928])
    assert set(rows["datasets"]) == {2}
    # Two independent datasets: deviations of 0.01 each make 0.01 / sqrt(2) of their mean.
    assert (here["high"] - here["low"]).tolist() == pytest.approx([0.02 / np.sqrt(2)] * 2, rel=0.08)
    pairs = read(results, "overall_pairs")
    assert list(pairs) == c.OVERALL_PAIRS
    (row,) = pairs[pairs["metric"] == "precision"].to_dict("records")
    assert (row["a"], row["b"], row["datasets"], row["word"]) == ("pixels", "random", 2, "better")
    # On each dataset alike, and no query tells more than the mean does.
    assert [row[name] for name in ("difference", "low", "high")] == pytest.approx([0.973 - 0.928] * 3)


def test_a_pair_that_differs_alone_may_not_among_many():
    scores = np.random.default_rng(0).random((8, 100))
    scores[0] = np.clip(scores[1] + 0.24 * (np.random.default_rng(1).random(100) - 0.425), 0, 1)
    draws = intervals.resample(scores, 0)
    trials = [fixture.trial("pca", {"components": number}) for number in range(8)]
    trials = [fixture.changed(one, {"n": number}) for number, one in enumerate(trials)]
    held = {("pca", one.name, "precision"): draws[:, number] for number, one in enumerate(trials)}
    pairs = [([a], [b]) for a, b in itertools.combinations(trials, 2)]
    alone, *_ = c.differences(held, pairs[:1], "precision")
    among, *_ = c.differences(held, pairs, "precision")
    assert (alone["word"], among["word"]) == ("better", "not resolved")
    for name in ("difference", "alone_low", "alone_high"):
        assert alone[name] == among[name]
    assert c.differences(held, [], "precision") == []


def test_sizes_of_one_dataset_are_not_independent(tmp_path):
    trials = [*fixture.standard_trials(size=16)[:1], *fixture.standard_trials(size=32)[:1]]
    row = read(write(tmp_path, trials, fixture.STANDARD), "overall").iloc[0]
    assert row["high"] - row["low"] == pytest.approx(0.02, abs=0.0005)


def test_overall_is_empty_with_one_dataset(standard):
    rows = read(standard, "overall")
    assert rows.empty and list(rows) == c.OVERALL
    pairs = read(standard, "overall_pairs")
    assert pairs.empty and list(pairs) == c.OVERALL_PAIRS


def test_overall_adds_the_deviations_of_the_draws():
    random = np.random.default_rng(0)
    trial = fixture.trial("pca", {})
    key = "pca", "seed~0", "precision"
    parts = {
        whose: {key: intervals.resample(random.random((1, n)), 0)[:, 0]}
        for whose, n in ((("a", 32), 50), (("b", 32), 50), (("c", 32), 80))
    }
    chosen = {whose: {"pca": [trial]} for whose in parts}
    row = c.overall(parts, chosen).iloc[0]
    deviations = [draws[key][1:].std() for draws in parts.values()]
    assert row["value"] == pytest.approx(np.mean([draws[key][0] for draws in parts.values()]))
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * np.linalg.norm(deviations) / 3, rel=0.06)
    chosen["c", 32] = {}
    assert c.overall(parts, chosen).empty


# --- selection without labels


def test_selectors_are_set_beside_the_choice_by_precision(tmp_path):
    trials = [fixture.age(lam, 10, seed) for lam in (500, 1000, 2000) for seed in (0, 1)]
    vals = {500: 0.93, 1000: 0.95, 2000: 0.92}
    values = {("age", one.name): (vals[one.options["lambda_z"]], 0.9 + one.seed / 100, 0.9, 0.9) for one in trials}
    rows = read(write(tmp_path, trials, values), "selection")
    assert list(rows) == c.SELECTION
    rows = rows.set_index("selector")
    assert list(rows.index) == ["sliced_wasserstein", "rankme_stack", "hubness"]
    assert set(rows["settings"]) == {3}
    # Preferred by the first: 500, 1000, 2000, so ranks 3, 2, 1; by precision 2, 3, 1: 1 - 6 (1 + 1 + 0) / (3 * 8).
    assert list(rows["spearman"]) == pytest.approx([0.5, -0.5, NAN], nan_ok=True)  # hubness is constant
    chosen = [f"lambda_z~{lam}+mu_x~10+seed~0" for lam in (500, 2000, 500)]
    assert list(rows["trial"]) == chosen
    assert set(rows["best_trial"]) == {"lambda_z~1000+mu_x~10+seed~0"}
    expected = intervals_fixture.over_seeds(waves((0, 1), (0.90, 0.91)), 0)
    row = rows.loc["sliced_wasserstein"]
    assert row["precision"] == pytest.approx(0.905)
    assert (row["low"], row["high"]) == pytest.approx((expected[1], min(1, expected[2])))
    expected = intervals_fixture.over_seeds(waves((2, 3), (0.90, 0.91)), 0)
    assert (row["best_low"], row["best_high"]) == pytest.approx((expected[1], min(1, expected[2])))


def test_selection_uses_what_is_ok_and_averages_seeds_first(tmp_path):
    trials = [fixture.age(lam, 10, seed) for lam in (500, 1000) for seed in (0, 1)]
    values = {("age", one.name): (0.9, 0.9, 0.9, 0.9) for one in trials}
    values["age", trials[3].name] = None  # collapsed
    results = fixture.build(tmp_path, trials, values)
    for one, text in zip(
        trials,
        # Alone, the first would be the best; its setting's mean is 3, beside 2.
        (
            "fid,1,lower,ok\nodd,1,higher,ok",
            "fid,5,lower,ok\nodd,9,higher,broken",
            "fid,2,lower,ok\nodd,9,higher,broken",
            "",
        ),
        strict=True,
    ):
        write_text(results / one.folder / "selectors.csv", f"selector,value,better,status\n{text}\n")
    rows = pd.DataFrame(c.selection(fixture.experiment(results, trials[:3]), *draws_of(results, trials[:3]))).set_index(
        "selector"
    )
    assert rows.loc["fid", "trial"] == trials[2].name
    assert list(rows["settings"]) == [2, 1]
    assert rows["spearman"].isna().all()  # fewer than three settings
    assert rows.loc["odd", "trial"] == trials[0].name
    write_text(results / trials[0].folder / "selectors.csv", "selector,value,better,status\nfid,1,least,ok\n")
    with pytest.raises(UserError, match="'better' is 'least', not 'lower' or 'higher'"):
        c.selection(fixture.experiment(results, trials[:1]), {}, {})


def draws_of(results, trials):
    return [resampled(fixture.experiment(results, trials), split, 3) for split in ("val", "test")]


def test_a_selector_without_any_value_has_a_row_without_choice(tmp_path):
    trials = [fixture.age(500, 10)]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    write_text(results / trials[0].folder / "selectors.csv", "selector,value,better,status\nfid,,lower,broken\n")
    (row,) = c.selection(fixture.experiment(results, trials), *draws_of(results, trials))
    assert (row["settings"], row["trial"], row["best_trial"]) == (0, "", "")
    assert np.isnan(row["precision"])


def test_what_is_not_trained_has_no_selection(tmp_path):
    rows = read(write(tmp_path, fixture.standard_trials()[:3], fixture.STANDARD), "selection")
    assert rows.empty and list(rows) == c.SELECTION


@pytest.mark.parametrize(
    ("a", "b", "correlation"),
    [
        ([1, 2, 3], [10, 20, 25], 1),
        ([1, 2, 3], [3, 1, 1], -np.sqrt(3) / 2),
        ([1, 1, 1], [1, 2, 3], NAN),
        ([1, 2], [1, 2], NAN),
    ],
)
def test_rank_correlation(a, b, correlation):
    assert c.rank_correlation(np.array(a), np.array(b)) == pytest.approx(correlation, nan_ok=True)


# --- lists across seeds


def test_overlap_of_the_lists_of_seeds(tmp_path):
    trials = [fixture.age(lam, 10, seed) for lam in (500, 1000) for seed in (0, 1, 2)]
    values = {("age", one.name): (0.9, 0.9, 0.9, 0.9) for one in trials}
    values |= {("age", trials[number].name): None for number in (4, 5)}
    results = write(tmp_path, trials, values)
    rows = read(results, "overlap")
    assert ",".join(rows) == "dataset,size,encoder,setting,seeds,k,overlap,chance"
    (row,) = rows.to_dict("records")  # the other setting has one seed left
    assert (row["setting"], row["seeds"], row["k"]) == ("lambda_z 500, mu_x 10", 3, 10)
    assert row["overlap"] == pytest.approx(5 / 15)  # 5 of 10 in common
    assert row["chance"] == pytest.approx(health.random_overlap(10, 300))
    # Each of three pairs counts: one seed becomes the same as another.
    path = results / trials[1].folder / "knn.h5"
    path.write_bytes((results / trials[0].folder / "knn.h5").read_bytes())
    assert c.overlap(fixture.experiment(results, trials[:3]))[0]["overlap"] == pytest.approx((1 + 2 * 5 / 15) / 3)


def test_lists_of_other_queries_are_refused(tmp_path):
    trials = [fixture.age(500, 10, seed) for seed in (0, 1)]
    results = fixture.build(tmp_path, trials, {("age", one.name): (0.9, 0.9, 0.9, 0.9) for one in trials})
    ids, rows = read_lists(results / trials[1].folder / "knn.h5")
    write_query_scores(results / trials[1].folder / "knn.h5", {}, {}, {}, (ids[::-1], rows))
    with pytest.raises(UserError, match="lists other queries than the other seeds"):
        c.overlap(fixture.experiment(results, trials))


def test_overlap_is_empty_with_one_seed(standard):
    rows = read(standard, "overlap")
    assert rows.empty and list(rows) == c.OVERLAP
