"""Studies are scripts behind single numbers of docs/results.md; they find what they say that they look for."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from images_fixture import source
from script_fixture import load_script
from training_fixture import CPU, OPTIONS, WIDTH

from visrec import encoders
from visrec.data.images import ImageSet, ImageSplit, read_images, write_images
from visrec.data.models import read_weights
from visrec.encoders import age
from visrec.experiment import trials
from visrec.experiment.layout import Experiment
from visrec.networks import bodies
from visrec.networks.stack import to_unit_range
from visrec.training.method import Setup, make

STUDIES = Path(__file__).parents[2] / "studies"
OF_ALL = ["rows.py", "so_far.py"]  # studies of all trials of a config
DEMO = Path(__file__).parents[2] / "config/config.yaml"


def refused(folder, study, config, *arguments):
    """What a study says, in one line, that does not do what it is asked, run in a folder."""
    command = [sys.executable, STUDIES / study, "--configfile", config, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_search_for_latents_ends_at_the_best_on_the_sphere():
    """Pictures are latents themselves, so the best of a picture on the sphere is the picture."""
    latents = load_script(STUDIES / "latents.py")
    generator = torch.Generator().manual_seed(0)
    best = latents.unit(torch.randn(5, 3, generator=generator))
    start = latents.unit(best + 0.3 * torch.randn(5, 3, generator=generator))
    found = latents.searched(SimpleNamespace(decode=lambda z: z), start, best, steps=300)
    assert list(found) == [10, 300]
    for latent in found.values():
        assert latent.norm(dim=1).tolist() == pytest.approx([1] * 5)
    errors = [(latent - best).abs().mean().item() for latent in (start, *found.values())]
    assert errors[0] > errors[1] > 10 * errors[2]
    assert errors[2] < 0.005


@pytest.fixture
def game(monkeypatch):
    """AGE in small, as it is read from a trial: in evaluation mode, with statistics of its batch norm."""
    monkeypatch.setattr(bodies, "WIDTH", WIDTH)
    game = make(age.Training, Setup(OPTIONS | {"learning_rate": 2e-3}, 32, 0, CPU))
    with torch.no_grad():
        for _ in range(50):
            game.decode(game.latents(64, game.random))
    return game.eval()


@torch.no_grad()
def test_an_encoder_that_goes_on_alone_reconstructs_better_and_leaves_the_generator(game):
    """Pictures are the generator's own, so there is a latent of each. In the game's own step both would move."""
    alone = load_script(STUDIES / "encoder_alone.py")
    images = ((game.decode(game.latents(64, game.random)) + 1) * 127.5).round().to(torch.uint8)
    before = {name: tensor.clone() for name, tensor in game.state_dict().items()}
    first = alone.readings(game, to_unit_range(images), images)
    game.load_state_dict(before)
    with torch.enable_grad():
        alone.go_on(game, images, iterations=30, mu=200, seed=0)
    moved = {name.split(".")[0] for name, tensor in game.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"encoder"}
    assert not any(net.training for net in (game.encoder, game.generator))
    assert game._optimisers["encoder"].param_groups[0]["lr"] == pytest.approx(2e-3 / 30)
    assert alone.readings(game, to_unit_range(images), images)[1] < 0.95 * first[1]


def test_readings_by_hand():
    """The encoder is right but for a turn by 60 degrees, and has no batch norm whose statistics could change."""
    alone, turn = load_script(STUDIES / "encoder_alone.py"), torch.tensor([[0.5, 0.75**0.5], [-(0.75**0.5), 0.5]])
    encoder = torch.nn.Linear(2, 2, bias=False)
    encoder.weight.data = turn
    game = SimpleNamespace(
        encoder=encoder,
        decode=lambda z: z,
        latents=lambda count, random: bodies.unit(torch.randn(count, 2, generator=random)),
    )
    found = alone.readings(game, torch.tensor([[1.0, 0.0]]), torch.zeros(2, 1, 1, 2, dtype=torch.uint8))
    assert found == pytest.approx([(0.5 + 0.75**0.5) / 2, (0.5 + 0.75**0.5) / 2, 0.5])


def test_the_precision_of_moments_by_hand():
    """Nearest three on a line, of a row at 0: classes 1, 0, 1; of a row at 10: 0, 0, 1."""
    moments = load_script(STUDIES / "moments.py")
    gallery = np.array([[1], [-2], [3], [9], [11.5], [7]], np.float32)
    asked, labels = np.array([1, 0]), np.array([1, 0, 1, 0, 0, 1])
    assert moments.precision(np.array([[0], [10]], np.float32), gallery, asked, labels) == pytest.approx(4 / 6)


def test_moments_are_those_of_the_training_itself(tmp_path, monkeypatch):
    """At the last one the average is the model that the workflow's training writes, bit by bit."""
    moments, read = load_script(STUDIES / "moments.py"), []
    monkeypatch.setattr(bodies, "WIDTH", WIDTH)
    monkeypatch.setattr(moments, "precisions", lambda encoder, *_: read.append(copy.deepcopy(encoder)) or [0.5, 0.25])
    images = tmp_path / "images.h5"
    splits = {"train": source(20, "train", 32), "val": source(2, "val", 32), "test": source(2, "test", 32)}
    write_images(images, ImageSet(splits, ["a", "b", "c"], "made up", "random"), 32)
    options = {"iterations": 7, "batch": 8, "precision": "fp32"}
    trial = trials.make(
        {"seeds": [3], "datasets": {}, "encoders": {}, "evaluators": {}}, "digits", 32, "dcgan", options, 3
    )
    found = dict(moments.moments(trial, images, read_images(images, "val"), last=4, every=2))
    assert list(found) == [3, 5, 7]
    assert all(len(values) == 2 + moments.READ for values in found.values())  # of both players
    files = {name: tmp_path / name for name in ("model", "history", "status")}
    encoders.train(trial.spec("train"), images, CPU, files, encoders.Resume(tmp_path / "checkpoints", 1000, 60, "code"))
    written, (*_, playing, average) = read_weights(files["model"]), read
    for name, tensor in average.state_dict().items():
        assert tensor.numpy().tolist() == written[f"encoder.{name}"].tolist()
    assert not torch.equal(playing.blocks[0][0].weight, average.blocks[0][0].weight)


@pytest.mark.parametrize(("options", "says"), [(["--split", "train"], "val or test"), (["--every", "0"], "1 or more")])
def test_moments_that_cannot_be_read_are_one_line(options, says, tmp_path):
    assert says in refused(tmp_path, "moments.py", "any.yaml", *options, "any")


@torch.no_grad()
def test_precisions_leave_the_network_as_it_is(game):
    moments, images = load_script(STUDIES / "moments.py"), source(12, "x", 32)
    before = copy.deepcopy(game.encoder.state_dict())
    split = ImageSplit(np.concatenate(images.batches), images.labels, images.ids)
    found = moments.precisions(game.encoder.train(), split, split)
    assert len(found) == 2
    assert all(value >= 1 / 3 for value in found)  # each finds itself
    assert game.encoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in game.encoder.state_dict().items())


def test_a_trial_is_evaluated_once_all_its_scores_are_there(tmp_path):
    """Atlas and selectors are not asked for, scores of queries are."""
    config = {"experiment": "some", "seeds": [0], "datasets": {}, "encoders": {}, "evaluators": {}}
    asked = [trials.make(config, "digits", 32, "age", {"mu_x": mu}, 0) for mu in (10, 20, 50)]
    some = Experiment(tmp_path, asked, ["knn", "svm"])
    for trial, missing in zip(asked, ["", "svm.h5", "knn.csv"], strict=True):
        for name in {"knn.csv", "svm.csv", "knn.h5", "svm.h5", "layers.csv", "embed.json"} - {missing}:
            some.path(trial, name).parent.mkdir(parents=True, exist_ok=True)
            some.path(trial, name).touch()
    assert load_script(STUDIES / "so_far.py").evaluated(some).trials == asked[:1]


@pytest.mark.parametrize("study", OF_ALL)
def test_no_trial_that_is_evaluated_is_one_line(study, tmp_path):
    assert "error: results/demo: no" in refused(tmp_path, study, DEMO)


@pytest.mark.parametrize("study", ["encoder_alone.py", "latents.py", "moments.py"])
def test_a_trial_without_its_files_is_one_line(study, tmp_path):
    trial = "digits/32px/age/lambda_z~1000+mu_x~10+seed~0"
    chosen = {"encoder_alone.py": ["--mu", "10"], "latents.py": ["--steps", "20"], "moments.py": ["--last", "4"]}[study]
    said = refused(tmp_path, study, DEMO, *chosen, trial)  # options first, as documented
    assert f"{trial.split('/age')[0]}/images.h5" in said


@pytest.mark.parametrize("study", ["encoder_alone.py", "latents.py", "moments.py", *OF_ALL])
def test_a_config_that_is_not_there_is_one_line(study, tmp_path):
    assert "none.yaml" in refused(tmp_path, study, "none.yaml", *(["x"] if study not in OF_ALL else []))


@pytest.mark.parametrize("study", ["encoder_alone.py", "latents.py", "moments.py"])
def test_a_trial_that_is_not_in_the_config_is_one_line(study, tmp_path):
    assert "error: nothing: is no trial of" in refused(tmp_path, study, DEMO, "nothing")


SCORED = "protocol,metric,split,k,distance,features,average,duplicates,value,low,high,n,chance,majority,status\n"


def test_rows_by_hand(tmp_path):
    """Of two seeds, one was begun twice; scores of other spaces, splits and k stand beside those asked for."""
    rows = load_script(STUDIES / "rows.py")
    config = {"experiment": "some", "seeds": [0, 1], "datasets": {}, "encoders": {}, "evaluators": {}}
    pixels, *seeds = (
        trials.make(config, "digits", 32, name, {}, seed) for name, seed in (("pixels", 0), ("vae", 0), ("vae", 1))
    )
    some = Experiment(tmp_path, [pixels, *seeds], ["knn", "svm", "few_labels"])
    for trial in some.trials:
        some.path(trial, "knn.csv").parent.mkdir(parents=True)
        for name in ("knn", "svm", "few_labels"):
            some.path(trial, f"{name}.csv").write_text(SCORED)
    some.path(seeds[0], "knn.csv").write_text(
        f"{SCORED}"
        "visrec,precision,val,3,l2,raw,micro,kept,0.9,0.9,0.9,9,0.1,,ok\n"
        "visrec,precision,test,3,l2,raw,micro,kept,0.25,0.204,0.31,9,0.1,,ok\n"
        "visrec,precision,test,5,cosine,raw,micro,kept,0.9,0.9,0.9,9,0.1,,ok\n"
        "visrec,precision,test,3,cosine,raw,micro,kept,0.5,0.4,0.6,9,0.1,,ok\n"
        "visrec,map_at_r,test,,l2,raw,micro,kept,0.0625,0.06,0.07,9,0.1,,ok\n"
    )
    some.path(seeds[0], "few_labels.csv").write_text(
        f"{SCORED}ali,accuracy,test,,,standardised,micro,kept,0.75,0.7,0.8,5,0.1,0.1,ok\n"
    )
    for trial, starts in zip(seeds, (1, 2), strict=True):
        about = {"iterations": 1500, "batch": 256, "starts": starts, "reconstruction_error": 0.157}
        some.path(trial, "status.json").write_text(json.dumps({"status": "ok", **about}))
        measured = some.benchmark("train", trial)
        measured.parent.mkdir(parents=True, exist_ok=True)
        measured.write_text("s\tcpu_time\n900\t630\n")
    title, first, *others = rows.rows(some)
    assert title[0] == "**No labels, no other pictures**"
    assert first == ["`pixels`", *[""] * 12]
    found = ["25.0 [20.4, 31.0]", "50.0 [40.0, 60.0]", "", "", "6.25 [6.00, 7.00]", "", "", "75.0 [70.0, 80.0]"]
    assert others == [
        ["`vae`", "0", "384,000", "10", *found, "0.16"],
        ["`vae`", "1", "384,000", *[""] * 9, "0.16"],
    ]
