import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures_fixture import pictures, smooth
from scipy import stats

from visrec.data.embeddings import read_embeddings, write_embeddings
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.data.models import packed
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Spec
from visrec.networks.bodies import build, unit
from visrec.networks.stack import to_unit_range
from visrec.scoring import frechet, selection

CPU = torch.device("cpu")
DECLARED = registry.declared("encoders", "age")["OPTIONS"]["train"]
SPEC = Spec("age", {name: option["default"] for name, option in DECLARED.items()} | {"latent": 8}, 5)


def test_reconstruction_error_by_hand():
    images = np.array([0, 255, 51, 255], np.uint8).reshape(1, 1, 2, 2)  # -1, 1, -0.6, 1
    assert selection.reconstruction_error(np.zeros((1, 1, 2, 2), np.float32), images) == pytest.approx(3.6 / 4)
    assert selection.reconstruction_error(to_unit_range(torch.from_numpy(images)).numpy(), images) < 1e-7
    assert math.isnan(selection.reconstruction_error(np.zeros((0, 3, 8, 8), np.float32), pictures(0, 8)))


@pytest.mark.parametrize("shape", [(30, 7), (7, 30)], ids=["tall", "wide"])
def test_rankme_of_an_orthogonal_matrix_is_its_width_and_of_rank_one_is_one(shape):
    random = np.random.default_rng(0)
    orthogonal = np.linalg.qr(random.normal(size=(30, 7)))[0]
    orthogonal = (orthogonal if shape == (30, 7) else orthogonal.T).astype(np.float32)
    assert selection.rankme(orthogonal) == pytest.approx(7, rel=1e-5)
    assert selection.rankme(1000 * orthogonal) == pytest.approx(7, rel=1e-5)
    one = np.outer(random.normal(size=shape[0]), random.normal(size=shape[1])).astype(np.float32)
    assert selection.rankme(one) == pytest.approx(1, abs=1e-4)


def test_rankme_by_hand():
    assert selection.rankme(np.diag([3, 1]).astype(np.float32)) == pytest.approx(4 / 3**0.75)  # p = 3/4, 1/4
    assert selection.rankme(np.full((5, 3), 2, np.float32)) == pytest.approx(1, abs=1e-6)  # constant: not centred
    assert math.isnan(selection.rankme(np.zeros((5, 3), np.float32)))
    assert math.isnan(selection.rankme(np.zeros((0, 3), np.float32)))
    assert math.isnan(selection.rankme(np.zeros((5, 0), np.float32)))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 600), st.integers(1, 12), st.integers(0, 99))
def test_rankme_equals_singular_values_of_numpy(rows, width, seed):
    features = np.random.default_rng(seed).normal(0.5, 2, (rows, width)).astype(np.float32)
    p = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    p = p[p > 0] / p.sum()
    assert selection.rankme(features) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-5)


def test_hubness_by_hand():
    gallery = np.array([[0.0], [10.0], [20.0], [30.0]], np.float32)
    # Three queries list row 0, one row 1: counts 3, 1, 0, 0 have mean 1, squares 4 + 0 + 1 + 1, cubes 8 + 0 - 1 - 1
    queries = np.array([[1.0], [2.0], [3.0], [11.0]], np.float32)
    assert selection.hubness(queries, gallery, 1) == pytest.approx((6 / 4) / (6 / 4) ** 1.5)
    # One query between all: the tied rows share its list, 1/2 each for rows 1 and 2
    assert selection.hubness(np.array([[15.0]], np.float32), gallery, 1) == pytest.approx(0, abs=1e-12)
    assert math.isnan(selection.hubness(queries, gallery, 4))  # every list is the whole gallery
    assert math.isnan(selection.hubness(queries[:0], gallery, 1))
    with pytest.raises(UserError, match="k = 5"):
        selection.hubness(queries, gallery, 5)


def test_hubness_equals_scipy_on_brute_force():
    random = np.random.default_rng(0)
    queries, gallery = (random.normal(size=(n, 20)).astype(np.float32) for n in (60, 90))
    distances = np.square(queries[:, None].astype(float) - gallery[None]).sum(2)
    counts = np.bincount(np.argsort(distances, axis=1)[:, :10].ravel(), minlength=90)
    assert selection.hubness(queries, gallery, 10) == pytest.approx(stats.skew(counts))


# Nets and files


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 10**6), unique=True), st.integers(0, 40))
def test_the_choice_depends_on_ids_and_not_on_their_order(numbers, count):
    ids = np.array([f"class{number % 3}/{number}" for number in numbers], dtype=str)
    rows = selection.choose(ids, count)
    assert len(rows) == min(count, len(ids))
    assert (np.diff(rows) > 0).all()
    assert set(ids[::-1][selection.choose(ids[::-1], count)]) == set(ids[rows])


def latents(count, seed):
    return unit(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)))


def save(path, encoder, generator):
    """A model of `age` with these networks."""
    nets = {"encoder": encoder, "generator": generator}
    weights = {f"{name}.{key}": each for name, net in nets.items() for key, each in net.state_dict().items()}
    path.write_bytes(packed({key: each.numpy() for key, each in weights.items()}))


@pytest.fixture(scope="module")
def nets():
    """A pair whose batch norm statistics are not those it began with, so that a wrong mode would be seen."""
    encoder, generator = build(32, 8, "dcgan", seed=0)
    with torch.no_grad():
        generator.train()(latents(64, 9))
        encoder.train()(to_unit_range(torch.from_numpy(smooth(64))))
        generator.output.weight *= 20  # so that the pictures of two latents differ
    return encoder.eval(), generator.eval()


@pytest.fixture(scope="module")
def trial(nets, tmp_path_factory):
    """Files of a trained trial: 40 train images, 12 of val and 2 of test."""
    folder = tmp_path_factory.mktemp("trial")
    parts = {split: smooth(count, seed=count) for split, count in (("train", 40), ("val", 12), ("test", 2))}
    written(folder / "images.h5", parts)
    save(folder / "model.safetensors", *nets)
    batches = {split: [embed(nets[0], images)] for split, images in parts.items()}
    write_embeddings(folder / "embeddings.h5", folder / "images.h5", batches, spec={})
    return folder, parts


@torch.no_grad()
def embed(encoder, images):
    x = to_unit_range(torch.from_numpy(images))
    return {"hidden": encoder.hidden(x)[-1].flatten(1).numpy(), "output": encoder(x).numpy()}


def written(path, parts):
    sources = {
        split: ImageSource(
            [images], np.zeros(len(images), np.int64), np.array([f"{split}/{row}" for row in range(len(images))])
        )
        for split, images in parts.items()
    }
    write_images(path, ImageSet(sources, ["a"], "made for a test", "made for a test"), 32)


def write(folder, images="images.h5", model="model.safetensors", embeddings="embeddings.h5", spec=SPEC, **more):
    files = folder / images, folder / model, folder / embeddings
    selection.write(spec, *files, CPU, folder / "selectors.csv", **more)
    return pd.read_csv(folder / "selectors.csv").set_index("selector")


@torch.no_grad()
def test_selectors_of_a_trial(trial, nets):
    folder, parts = trial
    table = write(folder)
    assert table.index.tolist() == [
        "sliced_wasserstein",
        "reconstruction_error",
        "rankme_output",
        "rankme_stack",
        "hubness",
    ]
    assert table.better.tolist() == ["lower", "lower", "higher", "higher", "lower"]
    assert (table.status == "ok").all()

    encoder, generator = nets
    x = to_unit_range(torch.from_numpy(parts["val"]))
    error = (generator(encoder(x)) - x).abs().mean()
    assert table.value["reconstruction_error"] == pytest.approx(error.item(), rel=1e-4)
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(5))
    samples = generator(z / z.norm(dim=1, keepdim=True))
    samples = ((samples + 1) * 127.5).round().to(torch.uint8).numpy()
    expected = selection.sliced_wasserstein(samples, parts["val"], selection.PROBE_SEED)
    assert table.value["sliced_wasserstein"] == pytest.approx(expected, rel=1e-3)
    output = encoder(to_unit_range(torch.from_numpy(parts["train"]))).numpy()
    assert table.value["rankme_output"] == pytest.approx(selection.rankme(output), rel=1e-4)
    features = {s: read_embeddings(folder / "embeddings.h5").splits[s].features for s in ("train", "val")}
    assert table.value["rankme_stack"] == pytest.approx(selection.rankme(features["train"]))
    assert table.value["hubness"] == pytest.approx(selection.hubness(features["val"], features["train"], 10))
    first = (folder / "selectors.csv").read_bytes()
    write(folder)
    assert (folder / "selectors.csv").read_bytes() == first


def test_a_part_of_many_images_is_used(trial, nets, monkeypatch):
    folder, parts = trial
    seen = {}
    for name, limit in (("IMAGES", 5), ("RANK_ROWS", 20), ("HUB_QUERIES", 4)):
        monkeypatch.setattr(selection, name, limit)
    for name in ("sliced_wasserstein", "rankme", "hubness"):
        monkeypatch.setattr(selection, name, lambda *given, name=name: seen.setdefault(name, []).append(given) or 0.5)
    table = write(folder)
    (samples, real, _), (output, _), (stack, _) = *seen["sliced_wasserstein"], *seen["rankme"]
    assert samples.shape == real.shape == (5, 3, 32, 32)
    val_ids = np.array([f"val/{row}" for row in range(12)])
    chosen = selection.choose(val_ids, 5)
    assert np.array_equal(real, parts["val"][chosen])
    x = to_unit_range(torch.from_numpy(real))
    with torch.no_grad():  # the latents decoded are those of the same images
        error = (nets[1](nets[0](x)) - x).abs().mean().item()
    assert table.value["reconstruction_error"] == pytest.approx(error, rel=1e-4)
    assert output.shape == (20, 8)
    assert stack.shape == (20, 4096 + 8)
    assert seen["hubness"][0][0].shape == (4, 4104)
    assert len(seen["hubness"][0][1]) == 40  # in all of train


def test_what_has_no_value_says_why(tmp_path, nets):
    parts = {"train": smooth(12), "val": pictures(0), "test": pictures(1)}
    written(tmp_path / "images.h5", parts)
    save(tmp_path / "model.safetensors", *nets)
    batches = {s: [{"hidden": np.zeros((len(x), 3)), "output": np.zeros((len(x), 8))}] for s, x in parts.items()}
    write_embeddings(tmp_path / "embeddings.h5", tmp_path / "images.h5", batches, spec={})
    table = write(tmp_path)
    assert table.value.isna().all()
    assert table.status.to_dict() == {
        "sliced_wasserstein": "val has no images",
        "reconstruction_error": "val has no images",
        "rankme_output": "the embedding is zero",
        "rankme_stack": "the embedding is zero",
        "hubness": "val has no images, or all training images are listed equally often",
    }


def test_of_fewer_training_images_than_a_list_has_the_hubness_is_none(tmp_path):
    parts = {"train": smooth(6), "val": pictures(3), "test": pictures(1)}
    written(tmp_path / "images.h5", parts)
    random = np.random.default_rng(0)
    batches = {split: [{"output": random.normal(size=(len(part), 4))}] for split, part in parts.items()}
    write_embeddings(tmp_path / "embeddings.h5", tmp_path / "images.h5", batches, spec={})
    table = write(tmp_path, spec=Spec("supervised", {}, 5))
    assert table.status.to_dict() == {
        "rankme_output": "ok",
        "rankme_stack": "ok",
        "hubness": "val has no images, or all training images are listed equally often",
    }


def test_a_failed_training_has_its_status_in_every_row(trial):
    folder, _ = trial
    write_embeddings(folder / "failed.h5", folder / "images.h5", {}, spec={}, status="collapsed")
    table = write(folder, model="absent", embeddings="failed.h5", inception="absent")
    assert table.index.tolist() == list(selection.BETTER)
    assert table.value.isna().all()
    assert (table.status == "collapsed").all()


def test_the_frechet_distance_is_of_samples_and_val_images(trial, nets, monkeypatch):
    folder, parts = trial
    asked = []
    monkeypatch.setattr(frechet, "load_inception", lambda path, device: path)
    monkeypatch.setattr(
        frechet,
        "inception_features",
        lambda net, images, device: asked.append(net) or images.mean(axis=(2, 3)) / 255,
    )
    table = write(folder, inception="weights.pth")
    assert asked == ["weights.pth"] * 2
    assert table.better["fid_torchvision"] == "lower"
    samples = selection.to_bytes(nets[1](latents(12, 5)).detach().numpy())
    a, b = (frechet.statistics(each.mean(axis=(2, 3)) / 255) for each in (samples, parts["val"]))
    assert table.value["fid_torchvision"] == pytest.approx(frechet.frechet_distance(*a, *b))


def test_what_is_wrong_with_the_files_is_said_in_one_line(trial, tmp_path, nets):
    folder, parts = trial
    with pytest.raises(UserError, match=r"absent\.pth does not exist"):
        write(folder, inception=str(tmp_path / "absent.pth"))
    with pytest.raises(UserError, match=r"absent\.safetensors: cannot be read as a model"):
        write(folder, model="absent.safetensors")
    weights = {key: each.numpy() for key, each in nets[0].state_dict().items()}
    (folder / "encoder.safetensors").write_bytes(packed(weights))
    with pytest.raises(UserError, match="cannot be read as a model of age"):
        write(folder, model="encoder.safetensors")
    written(folder / "others.h5", {**parts, "val": parts["val"][:11]})
    with pytest.raises(UserError, match="not those of the embeddings"):
        write(folder, images="others.h5")
    broken = copy.deepcopy(nets[1])
    broken.output.bias.data.fill_(math.nan)
    save(folder / "broken.safetensors", nets[0], broken)
    with pytest.raises(UserError, match="not finite"):
        write(folder, model="broken.safetensors")


def test_a_method_that_makes_no_pictures_is_measured_by_its_embedding_alone(trial):
    folder, _ = trial
    full = write(folder)
    table = write(folder, model="not needed", spec=Spec("supervised", {}, 5))
    assert table.index.tolist() == ["rankme_output", "rankme_stack", "hubness"]
    assert table.equals(full.loc[table.index])


def test_an_encoder_is_measured_by_what_it_draws():
    measured = {
        name: {selector for selector in selection.NEEDS if selection._can(Spec(name, {}, 0), selector)}
        for name in ("age", "dcgan", "simclr")
    }
    # DCGAN's output is made by a head that no loss has trained: there is nothing to find again from it.
    assert measured["age"] == set(selection.NEEDS)
    assert measured["dcgan"] == {"sliced_wasserstein", "fid_torchvision"}
    assert measured["simclr"] == set()
