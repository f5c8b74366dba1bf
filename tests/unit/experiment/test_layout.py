"""Which files an experiment and its trials have."""

from dataclasses import replace
from pathlib import Path

import pytest

from visrec.experiment import layout, registry
from visrec.experiment.trials import Trial

PIXELS = Trial("digits", 32, "pixels", {}, 0, "seed~0")
PCA = replace(PIXELS, encoder="pca")
AGE = Trial("digits", 32, "age", {}, 0, "lambda_z~1000+mu_x~10+seed~0")


def test_the_final_files_of_each_kind_of_encoder():
    last = ["knn.csv", "neighbours.csv", "projection.csv"]
    assert layout.final_files(PIXELS, ["knn"]) == layout.final_files(PCA, ["knn"]) == last
    drawn = ["samples.png", "reconstructions.png"]
    assert layout.final_files(AGE, ["knn"]) == [*last, "atlas.csv", "selectors.csv", *drawn]
    assert layout.final_files(AGE, []) == [*last[1:], "selectors.csv", *drawn]  # without labels there is no atlas


def test_what_the_report_reads_of_each_kind_of_encoder():
    every = {"knn.csv", "knn.h5", "layers.csv", "embed.json", "neighbours.csv", "projection.csv"}
    assert set(layout.report_files(PIXELS, ["knn"])) == every
    assert set(layout.report_files(PCA, ["knn"])) == every | {"status.json"}
    trained = {"status.json", "history.csv", "atlas.csv", "selectors.csv", "samples.png", "reconstructions.png"}
    files = layout.report_files(AGE, ["knn"])
    assert set(files) == every | trained
    assert len(files) == len(set(files))


def test_what_embed_needs_besides_images():
    assert layout.model_files(PIXELS) == []
    assert layout.model_files(PCA) == layout.model_files(AGE) == ["model.safetensors", "status.json"]


def test_pictures_are_those_that_the_encoder_declares(monkeypatch):
    declared = registry.declared("encoders", "pca") | {"PICTURES": ["tiles"], "STAGE": "train"}
    monkeypatch.setattr(registry, "declared", lambda kind, name: declared)
    assert layout.pictures(PCA) == ["tiles.png"]
    assert ("draw", "tiles") in layout.jobs(PCA, [])
    assert layout.page_files(PCA)[-1] == "tiles.png"


@pytest.mark.parametrize(
    ("trial", "evaluators", "jobs"),
    [
        (PIXELS, [], ["embed", "neighbours", "projection"]),
        (PCA, ["knn", "svm"], ["fit", "embed", "evaluate knn", "evaluate svm", "neighbours", "projection"]),
        (
            AGE,
            ["knn"],
            [
                *("train", "draw samples", "draw reconstructions", "embed"),
                *("evaluate knn", "neighbours", "projection", "atlas", "selection"),
            ],
        ),
    ],
)
def test_jobs_stand_in_their_order(trial, evaluators, jobs):
    assert [f"{rule} {evaluator}".strip() for rule, evaluator in layout.jobs(trial, evaluators)] == jobs


def test_an_experiment_knows_where_each_file_is():
    experiment = layout.Experiment(Path("results/demo"), [PIXELS, PCA], ["knn"])
    assert experiment.name == "demo"
    assert experiment.path(PIXELS, layout.STATUS) == Path("results/demo/digits/32px/pixels/seed~0/status.json")
    assert experiment.images("digits", 32) == Path("results/demo/digits/32px/images.h5")
    assert experiment.log("embed", PCA) == Path("results/demo/logs/embed/digits/32px/pca/seed~0.log")
    assert experiment.log("evaluate", PCA, "knn") == Path("results/demo/logs/evaluate/digits/32px/pca/seed~0/knn.log")
    assert experiment.benchmark("fit", PCA) == Path("results/demo/benchmarks/fit/digits/32px/pca/seed~0.tsv")
    assert experiment.of([PCA]).trials == [PCA]
