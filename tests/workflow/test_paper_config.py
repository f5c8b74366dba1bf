"""config/paper.yaml: the seed paper's grid, planned without any archive."""

import shutil

import pytest
import yaml
from tiny import ROOT, Checkout, planned

from visrec.experiment import trials
from visrec.experiment.config import archives


@pytest.fixture
def paper(fresh):
    fresh.config = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    return fresh


@pytest.fixture(scope="module")
def said(unused, tmp_path_factory) -> str:
    """What a dry run of the whole says."""
    folder = tmp_path_factory.mktemp("paper") / "fresh"
    shutil.copytree(unused, folder)
    return Checkout(folder, yaml.safe_load((ROOT / "config/paper.yaml").read_text())).make("--dry-run")


def test_the_whole_grid_is_planned_with_no_archive_on_disk(said):
    plan = planned(said)
    assert plan["train", "age"] == 30
    assert plan["prepare", ""] == 5
    assert plan["download", ""] == 7
    assert plan["embed", "age"] == 30
    assert (plan["embed", "pixels"], plan["fit", "pca"], plan["embed", "random"]) == (5, 5, 5)


def test_nothing_of_the_demo_leaks_in(said):
    assert "digits" not in said
    assert "results/demo" not in said


def test_recipes_reach_the_trainings(paper):
    trial = "lambda_z~2000+mu_x~50+seed~0"
    for dataset, size, iterations, steps in (
        ("svhn", 32, 117150, 2),
        ("cifar10", 32, 117150, 2),
        ("celeba", 64, 15825, 3),
        ("tiny_imagenet", 64, 9372, 2),
    ):
        options = trials.parse(paper.config, dataset, size, "age", trial).options
        assert (options["iterations"], options["generator_steps"]) == (iterations, steps)


def test_downloads_asks_for_every_archive_and_nothing_else(paper):
    assert paper.plan("downloads") == {("download", ""): 7, ("downloads", ""): 1}


def test_a_folder_of_archives_leaves_nothing_to_download(paper, tmp_path):
    for dataset in paper.config["datasets"]:
        for name in archives(paper.config, dataset):
            (tmp_path / "there" / dataset).mkdir(parents=True, exist_ok=True)
            (tmp_path / "there" / dataset / name).touch()
    paper.config["archives"] = str(tmp_path / "there")
    plan = paper.plan()
    assert plan["download", ""] == 0
    assert plan["train", "age"] == 30


def test_lists_on_the_command_line(fresh):
    model = f"results/{fresh.config['experiment']}/digits/32px/pca/components~3+seed~5/model.safetensors"
    fresh.make("--config", "seeds=[4, 5]", "tensorboard=false", "--", model)  # the job reads them, too
    assert (fresh.folder / model).exists()
