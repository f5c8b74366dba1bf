"""The real DAG with real training steps, once at 32 px and once at 64 px."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_archives
import yaml
from tiny import DIGITS, DIVERGED, HEALTHY, ROOT, TINY

from visrec.data.embeddings import read_embeddings
from visrec.data.images import read_images


def test_every_trial_has_its_whole_story(finished):
    assert not (finished.results / ".lock").exists()
    scores = {f"{name}.{kind}" for name in TINY["evaluators"] for kind in ("csv", "h5")}
    everyone = {"embeddings.h5", "layers.csv", "embed.json", "neighbours.csv", "projection.csv", *scores}
    age = finished.results / "digits/32px/age"
    for trial in (HEALTHY, DIVERGED):
        names = {path.name for path in (age / trial).iterdir()}
        assert {
            "model.safetensors", "history.csv", "samples.png", "reconstructions.png",
            "status.json", "atlas.csv", "selectors.csv", *everyone,
        } == names  # fmt: skip
    assert {path.name for path in (finished.results / "digits/32px/pixels/seed~0").iterdir()} == everyone
    assert {path.name for path in (finished.results / "digits/32px/random/seed~0").iterdir()} == {
        "atlas.csv", *everyone,
    }  # fmt: skip


def test_images_and_embeddings_agree_by_id(finished):
    """Row i of the pixels encoder is picture i, its id and its label, end to end."""
    folder = finished.results / "digits/32px"
    embeddings = read_embeddings(folder / "pixels/seed~0/embeddings.h5")
    for split, count in DIGITS.items():
        images = read_images(folder / "images.h5", split)
        rows = embeddings.splits[split]
        assert len(images.ids) == count
        assert rows.ids.tolist() == images.ids.tolist()
        assert rows.labels.tolist() == images.labels.tolist()
        assert np.allclose(rows.features * 255, images.images.reshape(count, -1), atol=1e-3)


def test_widths_are_computed(finished):
    folder = finished.results / "digits/32px"
    widths = {
        encoder: read_embeddings(folder / encoder / trial / "embeddings.h5").splits["test"].features.shape[1]
        for encoder, trial in (("age", HEALTHY), ("random", "seed~0"), ("pca", "seed~0"), ("pixels", "seed~0"))
    }
    assert widths == {"age": 4416, "random": 4416, "pca": 16, "pixels": 3072}


def test_divergence_travels_to_the_report(finished):
    folder = finished.results / f"digits/32px/age/{DIVERGED}"
    status = json.loads((folder / "status.json").read_text())
    assert status["status"] == "diverged"
    for evaluator in TINY["evaluators"]:
        rows = pd.read_csv(folder / f"{evaluator}.csv")
        assert set(rows.status) == {"diverged"}
        assert rows.value.isna().all()
    scores = pd.read_csv(finished.results / "tables/scores.csv")
    assert set(scores[scores.trial == DIVERGED].status) == {"diverged"}
    html = (finished.results / "report/index.html").read_text()
    assert "diverged" in html
    assert status["reason"] in html


def test_tables_hold_the_trials_scores(finished):
    scores = pd.read_csv(finished.results / "tables/scores.csv")
    one = scores[(scores.encoder == "age") & (scores.trial == HEALTHY) & (scores.evaluator == "knn")]
    own = pd.read_csv(finished.results / f"digits/32px/age/{HEALTHY}/knn.csv")
    assert np.array_equal(one.value.to_numpy(), own.value.to_numpy())
    perfect = ~one.metric.isin(["gini", "hubness"])  # of these 1 is not perfect
    expected = ((one.value - one.chance) / (1 - one.chance)).where(perfect)
    assert np.allclose(one.lift, expected, equal_nan=True)
    assert one.lift[perfect].notna().sum() > 100


def test_the_atlas_has_as_many_queries_as_the_config_says(finished):
    rows = pd.read_csv(finished.results / f"digits/32px/age/{HEALTHY}/atlas.csv")
    assert set(rows.n) == {TINY["atlas"]["queries"]}  # and not so many as its `images`, of which val has fewer


def test_the_report_asks_for_nothing_from_outside(finished):
    html = (finished.results / "report/index.html").read_text()
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", html)


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.make("--dry-run")


def test_nothing_heavy_is_imported_at_parse_time(finished, tmp_path):
    """Our Snakefile brings in none of these; what Snakemake's own plugins import is not ours to choose."""
    program = (
        "import sys\nfrom snakemake.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as leave:\n    assert leave.code == 0\n"
        "known = {'torch', 'torchvision', 'pandas', 'sklearn', 'seaborn', 'h5py'}\n"
        "print('heavy:', *sorted(known & set(sys.modules)))\n"
    )

    def heavy(folder, *arguments) -> set[str]:
        arguments = ["--cores", "1", "--dry-run", *arguments]
        done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True)
        assert "This was a dry-run" in done.stdout + done.stderr
        return set(done.stdout.partition("heavy:")[2].split())

    (tmp_path / "Snakefile").write_text("rule one:\n    output: 'x'\n    shell: 'touch x'\n")
    assert heavy(finished.folder, "--configfile", "tiny.yaml", "--forceall") == heavy(tmp_path)


def test_snakemakes_own_report(copy):
    copy.make("--report", "report.zip")
    with zipfile.ZipFile(copy.folder / "report.zip") as report:
        names = {name.rpartition("/")[2] for name in report.namelist()}
    assert {"provenance.csv", "leaderboard.html"} <= names


def test_every_job_has_its_log_and_benchmark(finished):
    for kind, suffix in (("logs", ".log"), ("benchmarks", ".tsv")):
        # A log has copies that stay, one per attempt: tables.1.log.
        rules = {path.name.removesuffix(suffix).removesuffix(".1") for path in (finished.results / kind).iterdir()}
        assert rules == {
            "prepare", "fit", "train", "draw", "embed", "evaluate", "atlas", "selection", "neighbours", "projection",
            "tables", "figures", "report",
        }  # fmt: skip
    assert (
        f"training on {DIGITS['train']} images of 32 px"
        in (finished.results / f"logs/train/digits/32px/age/{HEALTHY}.log").read_text()
    )


def test_64_px(fresh, tmp_path):
    archives = small_archives.tiny_imagenet(tmp_path, train=12, val=4)  # of each of four classes
    archives = {name: {"path": str(path), "checksum": small_archives.checksum(path)} for name, path in archives.items()}
    fresh.config["datasets"] = {"tiny_imagenet": {"sizes": [64], "archives": archives, "val": 12, "test": 16}}
    fresh.config["encoders"] = {"age": {"iterations": 2, "batch": 4}}
    fresh.config["evaluators"] = {"knn": {"k": [3], "features": ["raw"], "distances": ["l2"]}}
    fresh.config["atlas"] = {"images": 16, "queries": 6}
    fresh.make()
    folder = fresh.results / "tiny_imagenet/64px"
    embeddings = read_embeddings(folder / f"age/{HEALTHY}/embeddings.h5")
    assert embeddings.splits["train"].features.shape == (36, 8704)
    assert {name: part.stop - part.start for name, part in embeddings.layers.items()} == {
        "hidden2": 128, "hidden3": 256, "hidden4": 8192, "output": 128,
    }  # fmt: skip
    assert json.loads((folder / f"age/{HEALTHY}/status.json").read_text())["parameters"]["encoder"] == 3_806_080
    assert "64" in (fresh.results / "report/index.html").read_text()


def test_the_demo_is_the_shipped_config():
    """`make demo` runs config/config.yaml; the tiny config differs from it in sizes, and has no more kinds."""
    demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert demo["experiment"] == "demo"
    assert set(demo["encoders"]) > set(TINY["encoders"])
    assert set(demo["evaluators"]) == set(TINY["evaluators"])


@pytest.mark.parametrize("tool", ["ruff check .", "ruff format --check .", "snakefmt --check Snakefile workflow/rules"])
def test_formatting(tool):
    name, *arguments = tool.split()
    program = [Path(sys.executable).parent / name, *arguments]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
