"""The report of the trials that are finished, and what a workflow that runs beside it can do to it."""

import html
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import report_fixture as fixture

from visrec.data.files import write_text
from visrec.errors import UserError
from visrec.experiment.config import check
from visrec.report import FIGURES, TABLES, partial, tables

CONFIG = check(fixture.CONFIG | {"datasets": {"digits": {"sizes": [32]}}})
TRIALS = fixture.standard_trials(size=32)
PLACE = "digits/32px"
SMALL, LARGE, COLLAPSED = (f"age/lambda_z~{one}+seed~0" for one in ("500+mu_x~10", "1000+mu_x~10", "1000+mu_x~50"))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Seven finished trials, of which one collapsed; figures are not drawn, that is slow and tested elsewhere."""
    monkeypatch.setattr(partial, "figures", draw)
    return fixture.build(tmp_path, TRIALS, fixture.STANDARD)


def draw(_tables_dir, _results_dir, trials, out):
    for one, name in ((one, name) for one in trials for name in FIGURES):
        write_text(Path(out) / one.dataset / f"{one.size}px" / name, "<svg/>")


def make(results: Path) -> str:
    partial.partial(fixture.experiment(results, TRIALS), CONFIG, "abc1234")
    return (results / "partial/report/index.html").read_text(encoding="utf-8")


def words(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page.partition("<body>")[2])))


@pytest.mark.parametrize(
    "missing, lost",
    [
        ([], []),
        ([f"{PLACE}/pixels/seed~0/knn.csv"], ["pixels"]),
        ([f"{PLACE}/random/seed~0/atlas.csv", f"{PLACE}/pca/seed~0/status.json"], ["random", "pca"]),
        ([f"{PLACE}/{SMALL}/history.csv", f"{PLACE}/{SMALL}/selectors.csv"], ["age"]),
        ([f"{PLACE}/images.h5"], [one.encoder for one in TRIALS]),
        (["digits/64px/images.h5", "tables/scores.csv"], []),
    ],
)
def test_finished_is_what_lacks_nothing(missing, lost):
    experiment = fixture.experiment("results/demo", TRIALS)
    lacking = {Path("results/demo", name) for name in missing}
    found = [one.encoder for one in TRIALS if not lacking & {*partial.files_of(experiment, one)}]
    left = [one.encoder for one in TRIALS]
    for name in lost:
        left.remove(name)
    assert found == left


def test_all_that_the_report_reads_of_a_trial_is_waited_for(results):
    """And nothing else: embeddings may be deleted."""
    there = {path for path in (results / "digits").rglob("*.*") if path.is_file() and path.name != "embeddings.h5"}
    experiment = fixture.experiment(results, TRIALS)
    assert there == {path for one in TRIALS for path in partial.files_of(experiment, one)}


def test_what_is_not_shown_is_counted_and_failures_are_named():
    states = ["done", "waiting", "failed in train: MemoryError", "training on node7 since 10:00", "done, diverged"]
    folders = [one.folder for one in TRIALS]
    rows = [{"trial": name, "state": state} for name, state in zip(folders[:5], states, strict=True)]
    assert partial.unfinished(rows, [TRIALS[0], TRIALS[4]]) == {
        "total": 5, "failed": [(f"{PLACE}/pca/seed~0", "failed in train: MemoryError")], "open": 2,
    }  # fmt: skip


def test_numbers_are_those_of_the_finished_trials_alone(results, tmp_path):
    (results / PLACE / SMALL / "svm.h5").unlink()  # the best on validation, and the one that the whole would choose
    (results / PLACE / LARGE / "svm.csv").unlink()
    log = results / f"logs/evaluate/{PLACE}/{LARGE}/svm.1.log"
    log.parent.mkdir(parents=True)
    log.write_text("2026-11-23 06:50:08 attempt 1 on node7, process 3\nerror: <x.h5>: is empty; delete it\n")
    text = words(make(results))
    assert "Partial: 5 of 7 trials. Only finished trials are here" in text
    assert "1 is waiting or being computed, 1 failed." in text
    assert f"{PLACE}/{LARGE} failed in evaluate at attempt 1: <x.h5>: is empty; delete it" in text
    assert f"snakemake 'results/demo/{PLACE}/{COLLAPSED}/knn.csv'" in text

    left = [one for one in TRIALS if f"age/{one.name}" not in (SMALL, LARGE)]
    expected = tmp_path / "expected"
    tables.tables(fixture.experiment(results, left), {key: expected / name for key, name in TABLES.items()})
    for name in TABLES.values():
        assert (results / "partial/tables" / name).read_bytes() == (expected / name).read_bytes()
    board = pd.read_csv(results / "partial/tables/leaderboard.csv").set_index("encoder")
    assert board.loc["age", "trial"] == "lambda_z~500+mu_x~50+seed~0"
    assert board.loc["age", ["trials", "trials_ok"]].tolist() == [2, 1]  # the one that collapsed is a result
    assert {path.name for path in results.iterdir()} == {"digits", "benchmarks", "logs", "partial"}


def test_nothing_finished_is_one_line_and_writes_nothing(results):
    (results / PLACE / "images.h5").unlink()
    with pytest.raises(UserError, match="none of 7 trials is finished yet; `make status` says how far each is"):
        make(results)
    assert {path.name for path in results.iterdir()} == {"digits", "benchmarks"}


def replace(path: Path) -> None:
    write_text(path, path.read_text() + "\n")


def spoil(path: Path) -> None:
    write_text(path, "no picture")  # leads to another error, which must not tell to delete it


@pytest.mark.parametrize("name, disturb", [("svm.csv", Path.unlink), ("knn.csv", replace), ("samples.png", spoil)])
def test_a_trial_that_changes_on_the_way_leaves_the_last_report(results, monkeypatch, name, disturb):
    write_text(results / "partial/report/index.html", "the last")

    def disturbed(*arguments):
        draw(*arguments)
        disturb(results / PLACE / SMALL / name)

    monkeypatch.setattr(partial, "figures", disturbed)
    with pytest.raises(UserError, match=rf"{name}: was replaced or deleted while .* run this again"):
        make(results)
    assert (results / "partial/report/index.html").read_text(encoding="utf-8") == "the last"
    assert {path.name for path in results.iterdir()} == {"digits", "benchmarks", "partial"}


def test_an_unfinished_file_that_vanishes_is_one_line(results, monkeypatch):
    def read(*_):
        raise FileNotFoundError(2, "No such file or directory", "results/demo/logs/train/x.log")

    monkeypatch.setattr(partial.status, "table", read)
    with pytest.raises(UserError, match=r"^results/demo/logs/train/x\.log: was deleted while"):
        make(results)
    assert not (results / "partial").exists()


def test_dates_that_snakemake_renews_disturb_nothing(results, monkeypatch):
    def touched(*arguments):
        draw(*arguments)
        os.utime(results / PLACE / SMALL / "svm.csv")

    monkeypatch.setattr(partial, "figures", touched)
    text = words(make(results))
    assert "Partial: 7 of 7 trials." in text
    assert "0 are waiting or being computed, 0 failed." in text
