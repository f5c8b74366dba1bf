"""Where each trial comes from."""

import io
import json
import shlex

import pandas as pd
import pytest
import report_fixture as fixture

from visrec.data.images import read_image_info
from visrec.report import provenance
from visrec.report.inputs import State

TRIALS = [fixture.trial("pixels", {}), fixture.trial("pca", {"components": 128}), fixture.age(500, 10)]
TRIALS += [fixture.age(1000, 50)]
AGE = "digits/16px/age/lambda_z~500+mu_x~10+seed~0"
BAD = "digits/16px/age/lambda_z~1000+mu_x~50+seed~0"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    results = fixture.build(tmp_path_factory.mktemp("provenance"), TRIALS, fixture.STANDARD)
    for rule, trial, number, text in (
        ("train", AGE, 1, "attempt 1 on node7, process 5\nreading\nerror: disk is full; make room\n"),
        ("train", AGE, 2, "attempt 2 on node8, process 6\nreading\ndone after 41.2 s\n"),
        ("embed", AGE, 1, "attempt 1 on node8, process 7\nembedding\n"),
        ("train", BAD, 1, "attempt 1 on node7, process 8\niteration 240: all codes are one\ndone after 9.1 s\n"),
    ):
        log = results / "logs" / rule / f"{trial}.{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"2026-11-23 06:50:08 {text}")
        log.with_name(log.name.replace(f".{number}.log", ".log")).write_text(f"2026-11-23 06:50:08 {text}")
    return results


@pytest.fixture(scope="module")
def rows(results):
    states = {one.folder: State("ok", "") for one in TRIALS[:3]}
    states |= {TRIALS[3].folder: State("collapsed", "one code")}
    return provenance.rows(fixture.experiment(results, TRIALS), states, ["config/my paper.yaml"])


def test_a_trained_trial_says_where_it_was_made_and_embedded(rows, results):
    row = rows[2]
    assert (row["made_host"], row["made_device"], row["made_precision"]) == ("node<1>", "cpu", "fp32")
    assert (row["embedded_commit"], row["embedded_torch"], row["embedded_threads"]) == ("abc1234", "2.13.0", "2")
    assert row["images_fingerprint"] == read_image_info(results / "digits/16px/images.h5").fingerprint
    assert json.loads(row["options"]) == TRIALS[2].options
    target = f"results/demo/{AGE}/knn.csv"
    assert shlex.split(row["command"]) == ["snakemake", "--configfile", "config/my paper.yaml", "--", target]
    # The benchmarks of train, embed and neighbours, 12.5 + 2 s each; evaluators and atlas have none here.
    assert row["jobs_seconds"] == pytest.approx(3 * 14.5)
    # of all its jobs; the leaderboard's is of training and embedding alone
    assert row["jobs_peak_memory_mb"] == pytest.approx(402.5 * 1.048576)
    assert "peak_memory_mb" not in row


def test_what_is_not_recorded_is_said_to_be_so_and_not_guessed(rows):
    pixels, pca, age, _ = rows
    assert {pixels[f"made_{key}"] for key in provenance.MACHINE} == {""}  # there was nothing to make
    assert {pca[f"made_{key}"] for key in provenance.MACHINE} == {"not recorded"}
    assert (pca["made_seconds"], pca["iterations"]) == (0.21, None)
    assert age["made_commit"] == "not recorded"  # status.json does not know it
    assert pixels["attempts"] == "not recorded"
    shown = provenance.runs(rows)
    assert shown[1]["machine"].endswith("not recorded")
    assert "commit not recorded" in shown[2]["machine"]


def test_attempts_that_failed_have_their_last_line(rows):
    assert rows[2]["attempts"] == 3
    assert rows[2]["failed_attempts"].split("; embed, ") == [
        "train, attempt 1 on node7 failed: disk is full; make room",
        "attempt 1 on node8 was killed or still runs; its last line: embedding",
    ]
    assert rows[2]["last_log_line"] == ""
    assert rows[3]["last_log_line"] == "iteration 240: all codes are one"
    assert rows[3]["failed_attempts"] == ""


def test_the_table_is_a_csv_with_all_columns(rows):
    table = pd.read_csv(io.StringIO(provenance.table(rows).to_csv(index=False)), keep_default_na=False)
    assert list(table) == provenance.COLUMNS
    assert len(table) == 4
    assert list(table["status"]) == ["ok", "ok", "ok", "collapsed"]


def test_the_environment_names_each_value_once(rows):
    found = provenance.environment(rows)
    assert (found["hosts"], found["commits"], found["torchs"]) == (["node<1>"], ["abc1234"], ["2.13.0"])
    # The page says that these embedded.
    assert provenance.environment([row | {"made_commit": "fff0000"} for row in rows])["commits"] == ["abc1234"]
    assert any(one.startswith("visrec ") for one in found["report"])


def test_an_encoder_without_evaluators_is_made_again_by_its_neighbours():
    experiment = fixture.experiment("results/demo", TRIALS, [])
    command = shlex.split(provenance.command(experiment, TRIALS[0]))
    assert command == ["snakemake", "results/demo/digits/16px/pixels/seed~0/neighbours.csv"]
