"""Networks of others: real weights are those that come with the installation, others are tiny and random."""

import importlib.metadata
import re
import shutil
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from visrec.encoders import pretrained
from visrec.errors import UserError
from visrec.experiment.config import encoder_options

CPU = torch.device("cpu")
OPTIONS = {name: option["default"] for name, option in encoder_options("pretrained").items()} | {"input": 32}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("a connection was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)


def timms(name):
    """A model of timm, which is imported here: it takes long, and every worker reads this file."""
    import timm

    return timm.create_model(name).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A function: name of a timm model -> a file of random weights for it, and the model."""
    folder, made = tmp_path_factory.mktemp("weights"), {}

    def of(name):
        if name not in made:
            torch.manual_seed(0)
            model = timms(name)
            safetensors.torch.save_file(model.state_dict(), folder / f"{name}.safetensors")
            made[name] = str(folder / f"{name}.safetensors"), model
        return made[name]

    return of


def embed(pictures, **options):
    """What the extractor gives of pictures, by layer."""
    extract = pretrained.extractor(None, None, OPTIONS | options, 0, CPU)
    return extract(pictures, np.array([f"new{row}" for row in range(len(pictures))]))


def test_the_installed_weights_know_a_daisy():
    """They stand where timm's model expects them: a flower and a palace have the classes that ImageNet gives them."""
    model = timms(pretrained.MODEL)
    model.load_state_dict(pretrained.by_order(torch.load(pretrained.packaged(), weights_only=True)))
    found = []
    for picture in load_sample_images().images:
        side = min(picture.shape[:2])
        square = torch.from_numpy(picture[:side, :side].transpose(2, 0, 1).copy())[None]
        with torch.no_grad():
            found.append(model(pretrained.resized(square, 224) * 2 - 1)[0].topk(2).indices.tolist())
    assert found[0] == [442, 698]  # bell cote, palace
    assert found[1][0] == 985  # daisy


def test_features_are_those_of_the_model_whatever_else_is_in_the_batch(pictures):
    whole = embed(pictures)["pooled"]
    assert (whole.shape, whole.dtype) == ((5, 1280), np.float32)
    assert embed(pictures, batch=2)["pooled"] == pytest.approx(whole, rel=1e-4, abs=1e-5)
    assert embed(pictures[3:4])["pooled"] == pytest.approx(whole[3:4], rel=1e-4, abs=1e-5)
    assert np.array_equal(embed(pictures)["pooled"], whole)
    assert not np.allclose(embed(pictures, input=64)["pooled"], whole, atol=0.1)


def test_layers_by_name_are_averaged_over_their_places(pictures):
    found = embed(pictures, layers="bn2-blocks.2-pooled")
    assert {name: layer.shape for name, layer in found.items()} == {
        "bn2": (5, 1280),
        "blocks.2": (5, 40),
        "pooled": (5, 1280),
    }
    assert found["bn2"] == pytest.approx(found["pooled"], abs=1e-6)  # the last maps, which the model averages itself


def test_tokens_of_patches_are_averaged_without_the_class_token(pictures, weights):
    file, model = weights("test_vit")
    found = embed(pictures, model="test_vit", weights=file, input=160, layers="blocks.1")["blocks.1"]
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        x = model.patch_embed((pretrained.resized(torch.from_numpy(pictures), 160) - mean) / std)
        x = model._pos_embed(x)
        x = model.blocks[1](model.blocks[0](model.norm_pre(x)))
    assert found == pytest.approx(x[:, 1:].mean(dim=1).numpy(), rel=1e-4, abs=1e-5)


def test_maps_with_channels_last_are_averaged_over_their_places():
    """A module of a network may have them where the network has not."""
    maps = torch.arange(8.0).reshape(1, 2, 2, 2)  # where all sides are alike, the network says which
    assert pretrained._averaged(SimpleNamespace(), "x", maps).tolist() == [[1.5, 5.5]]
    assert pretrained._averaged(SimpleNamespace(output_fmt="NHWC"), "x", maps).tolist() == [[3, 4]]
    for network in (SimpleNamespace(), SimpleNamespace(output_fmt="NHWC")):
        first = pretrained._averaged(network, "x", torch.arange(12.0).reshape(1, 3, 2, 2))
        assert first.tolist() == [[1.5, 5.5, 9.5]]
        last = pretrained._averaged(network, "x", torch.arange(12.0).reshape(1, 2, 2, 3))
        assert last.tolist() == [[4.5, 5.5, 6.5]]
    with pytest.raises(UserError, match="'x' gives no features"):
        pretrained._averaged(SimpleNamespace(), "x", torch.zeros(1, 2, 3, 4))


def test_tokens_before_the_class_token_joins_them_are_all_of_patches():
    network = SimpleNamespace(num_prefix_tokens=1, patch_embed=SimpleNamespace(num_patches=3))
    tokens = torch.arange(8.0).reshape(1, 4, 2)
    assert pretrained._averaged(network, "x", tokens).tolist() == [[4, 5]]
    assert pretrained._averaged(network, "x", tokens[:, 1:]).tolist() == [[4, 5]]
    assert pretrained._averaged(network, "x", tokens[:, :3]).tolist() == [[2, 3]]


def test_a_grey_picture_has_the_value_that_the_model_was_trained_with(monkeypatch):
    """128 of 255 is (0.502 - 0.485) / 0.229 of ImageNet's red, whatever the size, and 0.004 of lite0."""
    monkeypatch.setattr(pretrained, "_features", lambda network, names: lambda images: {"all": images.flatten(1)})
    grey = np.full((2, 3, 16, 16), 128, np.uint8)
    assert embed(grey)["all"] == pytest.approx(np.full((2, 3 * 32 * 32), 0.003922), abs=1e-5)
    about = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "input_size": (3, 224, 224)}
    network = torch.nn.Identity()
    network.pretrained_cfg = about
    monkeypatch.setattr(pretrained, "load", lambda options: network)
    by_channel = embed(grey)["all"].reshape(2, 3, -1)
    for value, channel in zip((0.074065, 0.205182, 0.426492), by_channel[0], strict=True):
        assert channel == pytest.approx(np.full(1024, value), abs=1e-5)


@pytest.mark.parametrize("side", [11, 40])
def test_pictures_are_resized_as_pillow_does_it(pictures, side):
    faint = pictures // 4 + 96  # nothing to clip, which Pillow does twice, as it rounds twice
    found = pretrained.resized(torch.from_numpy(faint), side).numpy() * 255
    whole = Image.fromarray(faint[0].transpose(1, 2, 0)).resize((side, side), Image.Resampling.BICUBIC)
    assert found[0].transpose(1, 2, 0) == pytest.approx(np.asarray(whole).astype(float), abs=1.1)
    overshoot = pretrained.resized(torch.from_numpy(pictures // 128 * 255), side)
    assert (overshoot.min(), overshoot.max()) == (0, 1)


def test_a_flipped_byte_in_the_installed_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / pretrained.PACKAGED
    shutil.copyfile(pretrained.packaged(), path)
    entry = SimpleNamespace(name=path.name, locate=lambda: path)
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [entry])
    assert pretrained.packaged() == path
    with path.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)[0]
        file.seek(1_000_000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(UserError, match=r"\.pth: is not the file that is known \(its SHA-256 differs\)"):
        pretrained.load(OPTIONS)
    path.unlink()
    with pytest.raises(UserError, match=r"has no efficientnet-lite0-57934424\.pth; install"):
        pretrained.load(OPTIONS)


def test_a_package_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr(pretrained, "PACKAGE", "no-such-package-of-weights")
    with pytest.raises(UserError, match=r"the package no-such-package-of-weights is not installed; .*or set `weights`"):
        pretrained.packaged()


def test_tensors_in_another_order_are_refused():
    state = torch.load(pretrained.packaged(), weights_only=True)
    keys = list(state)
    with pytest.raises(UserError, match=r"the 295 tensors of .* are not the 296 of timm's"):
        pretrained.by_order({key: state[key] for key in keys[:-1]})
    keys[2], keys[1] = keys[1], keys[2]  # of one shape: only the names tell them apart
    with pytest.raises(UserError, match=r"in order, first '_bn0\.bias' and 'bn1\.weight'"):
        pretrained.by_order({key: state[key] for key in keys})


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_every_tensor_is_from_the_file(name, weights, tmp_path):
    file, model = weights(name)
    options = OPTIONS | {"model": name, "input": 160}
    for path in (file, str(tmp_path / "weights.pth")):
        if path != file:
            torch.save({"state_dict": model.state_dict()}, path)
        found = pretrained.load(options | {"weights": path}).state_dict()
        assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in found.items())


def test_position_embeddings_are_made_for_the_size(pictures, weights):
    file, _ = weights("test_vit")
    assert embed(pictures, model="test_vit", weights=file, input=64)["pooled"].shape == (5, 64)


def test_a_file_that_does_not_fit_is_one_line(weights, tmp_path):
    _, model = weights("test_resnet")
    state = model.state_dict()
    scale = state["conv1.0.weight"]
    less, more, other = (str(tmp_path / f"{name}.safetensors") for name in ("less", "more", "other"))
    safetensors.torch.save_file({key: state[key] for key in state if key != "conv1.0.weight"}, less)
    safetensors.torch.save_file(state | {"layer9.weight": torch.zeros(1)}, more)
    safetensors.torch.save_file(state | {"conv1.0.weight": scale[:1].clone()}, other)
    (tmp_path / "text.pth").write_text("no weights")
    for path, message in (
        (less, "it lacks 1 of .* tensors, first 'conv1.0.weight'; correct `model` or `weights`"),
        (more, "it has too many: 1 of .* tensors, first 'layer9.weight'"),
        (other, "it has other shapes of 1 of .* tensors, first 'conv1.0.weight'"),
        (str(tmp_path / "text.pth"), r"text\.pth: is no file of weights of this model \(.*\); name another"),
        (str(tmp_path / "none.pth"), r"none\.pth: there is no such file; correct `weights`"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            pretrained.load(OPTIONS | {"model": "test_resnet", "weights": path})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model": "resnet5"}, "has no model 'resnet5'; did you mean resnet50"),
        ({"model": "hf-hub:someone/something"}, "has no model 'hf-hub:someone/something'; see"),
        ({"model": "resnet50.nowhere"}, r"has no 'resnet50\.nowhere'; did you mean resnet50\."),
        (
            {"model": "test_vit.r160_in1k", "input": 160},
            r"weights of 'test_vit\.r160_in1k' are not in this installation; download model\.safetensors of "
            r"timm/test_vit\.r160_in1k and set `weights`",
        ),
        ({"model": "test_vit", "input": 100}, "into patches of 16 px, and `input` is 100; set 96 or 112"),
        ({"trained_on": "photos"}, "`trained_on` is of a file of weights, and none is named"),
        ({"layers": "blocks.9"}, r"the model has no module 'blocks\.9'; did you mean blocks\.\d"),
        ({"layers": ""}, "the model has no module ''; did you mean"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        pretrained.extractor(None, None, OPTIONS | options, 0, CPU)
    assert re.fullmatch("pretrained: .*", str(caught.value))


def test_a_size_that_the_model_cannot_take_is_one_line(weights):
    file, _ = weights("test_maxvit")
    with pytest.raises(
        UserError, match=r"^pretrained: 'test_maxvit' does not take pictures of 33 px \(.*\); .* as 160$"
    ):
        pretrained.extractor(None, None, OPTIONS | {"model": "test_maxvit", "weights": file, "input": 33}, 0, CPU)
