"""Every dataset, encoder and evaluator found keeps its contract. A new file is picked up by itself."""

import functools
import json

import h5py
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import small_archives
import torch
from PIL import Image
from small_archives import checksum

from visrec import datasets, encoders, evaluators
from visrec.data.embeddings import read_embeddings, write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, ImageSet, ImageSource, read_image_info, read_images, write_images
from visrec.data.models import Model
from visrec.data.query_scores import read_query_scores
from visrec.encoders import EmbeddingFiles, Resume, pretrained
from visrec.errors import StoppedError, UserError
from visrec.experiment import registry, trials
from visrec.experiment.config import encoder_options, options
from visrec.networks import bodies
from visrec.recommender.choice import embeds_new_pictures
from visrec.scoring import atlas
from visrec.scoring.metrics import METRICS
from visrec.training import models
from visrec.training.checkpoint import Checkpoints
from visrec.training.draw import draw

CPU = torch.device("cpu")
CONFIG = {"experiment": "contract", "seeds": [0], "datasets": {}, "encoders": {}, "evaluators": {}}
TRAINED = [name for name in registry.names("encoders") if registry.declared("encoders", name).get("STAGE") == "train"]
SHARED = {"iteration", "learning_rate", "images_per_second"}  # columns of history.csv that every training has


def small_options(name):
    """Options that make an encoder cheap enough to train here: what its file declares as TEST."""
    return dict(registry.declared("encoders", name).get("TEST", {}))


def sees_labels(name):
    return registry.declared("encoders", name).get("LABELS", False)


def features_of(images, path):
    """A file of features made elsewhere: noise, in the reverse order of the ids."""
    ids = np.concatenate([read_images(images, split).ids for split in SPLITS])[::-1]
    with h5py.File(path, "w") as file:
        file["ids"] = ids.astype(object)
        file["features"] = np.random.default_rng(0).normal(size=(len(ids), 3))


def weights_of(images, path):
    """The weights that `pretrained` has without a file, in a file."""
    state = pretrained.load(small_defaults("pretrained")).state_dict()
    torch.save(state, path)


def small_defaults(name):
    return {key: option["default"] for key, option in encoder_options(name).items()} | small_options(name)


# What makes the files that an encoder's options name (its FILES), from images.h5.
GIVEN = {"precomputed": {"path": features_of}, "pretrained": {"weights": weights_of}}


@pytest.mark.parametrize("kind", registry.KINDS)
def test_declarations_have_defaults_and_descriptions(kind):
    for name in registry.names(kind):
        declared = registry.declared(kind, name)["OPTIONS"]
        for option in encoder_options(name).values() if kind == "encoders" else declared.values():
            assert "default" in option
            assert option["description"].endswith(".")


def test_titles_of_encoders_are_short_and_their_own():
    titles = [registry.declared("encoders", name)["TITLE"] for name in registry.names("encoders")]
    assert all(0 < len(title) <= 40 and not title.endswith(".") for title in titles)
    assert len(set(titles)) == len(titles)  # also a variant's


# Options that fit the small archives of `small_archives`, which has a function for each dataset that has archives.
FEW = {
    "svhn": {"train": 50, "val": 10, "test": 20},
    "cifar10": {"train": 60, "val": 20, "test": 20},
    "celeba": {"train": 12, "val": 6, "test": 6},
    "tiny_imagenet": {"val": 8, "test": 16},
    "emoji": {"val": 6},
}


def small(name, folder):
    """Options and archives with which a dataset can be prepared here."""
    chosen = options(CONFIG, "datasets", name) | FEW.get(name, {})
    files = {}
    if "ARCHIVES" in registry.declared("datasets", name):
        files = {key: (path, checksum(path)) for key, path in getattr(small_archives, name)(folder).items()}
    elif "path" in chosen:
        for row, picture in enumerate(small_archives.pixels(40, 20, 24)):
            path = folder / f"pictures/class{row % 4}/{row}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(small_archives.jpeg(picture))
        chosen["path"] = str(folder / "pictures")
    return chosen, files


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("name", registry.names("datasets"))
def test_dataset(name, size, tmp_path):
    chosen, files = small(name, tmp_path)
    datasets.prepare(name, size, chosen, files, 1, tmp_path / "images.h5")
    datasets.prepare(name, size, chosen, files, 2, tmp_path / "again.h5")
    info, again = (read_image_info(tmp_path / file) for file in ("images.h5", "again.h5"))
    assert info == again
    assert info.split_rule
    assert info.source
    seen = {}
    for split in SPLITS:
        images = read_images(tmp_path / "images.h5", split)
        assert images.images.shape == (info.counts[split], 3, size, size)
        assert images.images.std() > 10  # pictures, not a constant
        assert set(np.unique(images.labels)) <= set(range(-1, len(info.classes)))
        assert not set(images.ids) & set(seen)
        seen |= dict(zip(images.ids, images.labels, strict=True))
    assert len(seen) == sum(info.counts.values()) > 0


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Forty pictures of 32 px in four classes, in three splits."""
    path = tmp_path_factory.mktemp("contract") / "images.h5"
    rng = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        labels = np.arange(count) % 4
        pixels = rng.integers(0, 60, (count, 3, 32, 32)) + labels[:, None, None, None] * 60
        splits[split] = ImageSource([pixels.astype(np.uint8)], labels, np.array([f"{split}{i}" for i in range(count)]))
    write_images(path, ImageSet(splits, "abcd", "by hand", "random"), 32)
    return path


def train(spec, images, folder, save_every=1):
    files = {"model": "model.safetensors", "history": "history.csv", "status": "status.json"}
    resume = Resume(folder / "checkpoints", save_every, 60)
    encoders.train(spec, images, CPU, {name: folder / file for name, file in files.items()}, resume)


def make(name, images, folder, seed=0, **more):
    folder.mkdir()
    chosen = small_options(name) | more
    for option in registry.declared("encoders", name).get("FILES", ()):
        chosen[option] = str(folder / f"{option}.h5")
        GIVEN[name][option](images, chosen[option])
    trial = trials.make(CONFIG, "digits", 32, name, chosen, seed)
    model = Model(folder / "model.safetensors", folder / "status.json") if trial.stage else None
    if trial.stage == "fit":
        encoders.fit(trial.spec("fit"), images, model)
    elif trial.stage == "train":
        train(trial.spec("train"), images, folder)
        assert len([*(folder / "checkpoints").iterdir()]) == 1  # the last, until the model is read
    files = EmbeddingFiles(folder / "embeddings.h5", folder / "layers.csv", folder / "embed.json")
    encoders.embed(trial.spec(), images, model, CPU, files, commit="abc1234")
    assert not (folder / "checkpoints").exists()
    cost = json.loads(files.cost.read_text())
    counts = read_image_info(images).counts
    assert (cost["images"], cost["device"], cost["commit"]) == (sum(counts.values()), "cpu", "abc1234")
    assert cost["images_per_second"] == pytest.approx(cost["images"] / cost["seconds"], rel=0.05)  # rounded
    return read_embeddings(folder / "embeddings.h5")


@pytest.fixture(scope="module", autouse=True)
def narrow_networks():
    """A sixteenth of the work; the contract is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "WIDTH", 16)
        yield


@pytest.fixture(scope="module")
def folder_of(images, tmp_path_factory):
    """A function of an encoder's name: the folder in which it was made, once for all tests that only look into it."""

    @functools.cache
    def made(name):
        folder = tmp_path_factory.mktemp("made") / name
        make(name, images, folder)
        return folder

    return made


@pytest.mark.parametrize("name", registry.names("encoders"))
def test_encoder(name, images, folder_of, tmp_path):
    made, again = read_embeddings(folder_of(name) / "embeddings.h5"), make(name, images, tmp_path / "two")
    assert made.status == "ok"
    width = made.splits["train"].features.shape[1]
    assert [part.start for part in made.layers.values()] == [0, *(part.stop for part in made.layers.values())][:-1]
    assert list(made.layers.values())[-1].stop == width > 0
    for split in SPLITS:
        source = read_images(images, split)
        rows = made.splits[split]
        assert rows.features.shape == (len(source.ids), width)
        assert np.isfinite(rows.features).all()
        assert rows.ids.tolist() == source.ids.tolist()
        assert rows.labels.tolist() == source.labels.tolist()
        assert np.array_equal(rows.features, again.splits[split].features)  # the same seed, the same bits
        assert len(np.unique(rows.features, axis=0)) == len(rows.features)  # different pictures, different vectors
    if registry.declared("encoders", name).get("SEEDED", True) and name != "pca":
        other = make(name, images, tmp_path / "three", seed=1)
        assert not np.array_equal(other.splits["test"].features, made.splits["test"].features)


@pytest.mark.parametrize("name", [name for name in registry.names("encoders") if "width" in encoder_options(name)])
def test_encoder_is_as_wide_as_it_is_told(name, images, folder_of, tmp_path):
    """An option that a file takes with its group, and does not hand on, would be one that does nothing."""
    narrow = read_embeddings(folder_of(name) / "embeddings.h5").layers["hidden3"]
    wide = make(name, images, tmp_path / "wide", width=2).layers["hidden3"]
    assert wide.stop - wide.start == 2 * (narrow.stop - narrow.start) > 0


@pytest.mark.parametrize("name", [name for name in registry.names("encoders") if not sees_labels(name)])
def test_encoder_never_sees_labels(name, images, folder_of, tmp_path):
    shuffled = tmp_path / "shuffled.h5"
    splits = {}
    for split in SPLITS:
        part = read_images(images, split)
        splits[split] = ImageSource([part.images], part.labels[::-1], part.ids)
    write_images(shuffled, ImageSet(splits, "abcd", "", ""), 32)
    one, two = read_embeddings(folder_of(name) / "embeddings.h5"), make(name, shuffled, tmp_path / "two")
    for split in SPLITS:
        assert np.array_equal(one.splits[split].features, two.splits[split].features)


@pytest.mark.parametrize("name", [name for name in registry.names("encoders") if embeds_new_pictures(name)])
def test_encoder_embeds_pictures_that_are_not_in_its_images(name, images, folder_of):
    """The same pixels under another name have the same features, whatever else is in the batch."""
    made = read_embeddings(folder_of(name) / "embeddings.h5").splits["test"].features
    trial = trials.make(CONFIG, "digits", 32, name, small_options(name), 0)
    model = folder_of(name) / "model.safetensors" if trial.stage else None
    extract = encoders.extractor(trial.spec(), model, ImageFile(images), CPU)
    batch = read_images(images, "test").images[:3]
    found = np.concatenate([*extract(batch, np.array(["new0", "new1", "new2"])).values()], axis=1)
    assert found == pytest.approx(made[:3], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_that_was_killed_ends_as_if_undisturbed(name, images, tmp_path, monkeypatch):
    """Two iterations, saved, resumed, and two more are four."""
    spec = trials.make(CONFIG, "digits", 32, name, small_options(name) | {"iterations": 4}, 0).spec("train")
    train(spec, images, tmp_path / "whole")
    keep = Checkpoints.keep

    def keep_and_stop(self, iteration, state):
        keep(self, iteration, state)
        if iteration == 2:
            raise StoppedError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "keep", keep_and_stop)
        with pytest.raises(StoppedError):
            train(spec, images, tmp_path / "parts")
    assert not (tmp_path / "parts/model.safetensors").exists()
    train(spec, images, tmp_path / "parts")
    one, other = (safetensors.torch.load_file(tmp_path / part / "model.safetensors") for part in ("whole", "parts"))
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    histories = [
        pd.read_csv(tmp_path / part / "history.csv").drop(columns="images_per_second") for part in ("whole", "parts")
    ]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert json.loads((tmp_path / "parts/status.json").read_text())["starts"] == 2


@pytest.mark.parametrize("name", TRAINED)
def test_readings_are_columns_of_the_history(name, folder_of):
    columns = set(pd.read_csv(folder_of(name) / "history.csv"))
    assert columns >= SHARED
    declared = registry.declared("encoders", name)["READINGS"]
    for reading, about in declared.items():
        assert {reading, *about.get("band", ())} <= columns - SHARED
        assert about["title"]
        assert about.keys() <= {*"title healthy ideal band scale from_zero below above collapse_below".split()}
        assert len(about.get("healthy", (0, 0))) == 2


@pytest.mark.parametrize("label, message", [(-1, "no training image has one"), (2, "all are of one class")])
@pytest.mark.parametrize("name", [name for name in TRAINED if sees_labels(name)])
def test_training_with_labels_needs_some_and_says_so(name, images, tmp_path, label, message):
    splits = {}
    for split in SPLITS:
        part = read_images(images, split)
        splits[split] = ImageSource([part.images], np.full(len(part.ids), label), part.ids)
    write_images(tmp_path / "others.h5", ImageSet(splits, "abcd", "", ""), 32)
    spec = trials.make(CONFIG, "digits", 32, name, small_options(name), 0).spec("train")
    with pytest.raises(UserError, match=f"{name}: is trained with labels, and {message}"):
        train(spec, tmp_path / "others.h5", tmp_path)


@pytest.mark.parametrize("name", [name for name in TRAINED if sees_labels(name)])
def test_pictures_without_a_label_teach_unless_it_is_declared_that_they_do_not(name, images, tmp_path):
    """Half of the training pictures have no label, and in a second training they are other pictures."""
    spec = trials.make(CONFIG, "digits", 32, name, small_options(name), 0).spec("train")
    for turned in (False, True):
        splits = {}
        for split in SPLITS:
            part = read_images(images, split)
            hidden = np.arange(len(part.ids)) % 8 >= 4
            pixels = np.where(hidden[:, None, None, None] & turned, 255 - part.images, part.images)
            splits[split] = ImageSource([pixels], np.where(hidden, -1, part.labels), part.ids)
        write_images(tmp_path / f"{turned}.h5", ImageSet(splits, "abcd", "", ""), 32)
        train(spec, tmp_path / f"{turned}.h5", tmp_path / str(turned))
    one, two = (safetensors.torch.load_file(tmp_path / turned / "model.safetensors") for turned in ("False", "True"))
    same = all(torch.equal(tensor, two[key]) for key, tensor in one.items())
    assert same != registry.declared("encoders", name).get("UNLABELLED", True)


@pytest.mark.parametrize(
    "name", [name for name in TRAINED if not registry.declared("encoders", name).get("UNLABELLED", True)]
)
def test_a_batch_is_of_all_labelled_pictures_where_there_are_fewer(name, images, tmp_path, caplog):
    spec = trials.make(CONFIG, "digits", 32, name, small_options(name) | {"label_share": 0.2}, 0).spec("train")
    with caplog.at_level("INFO"):
        train(spec, images, tmp_path)
    assert spec.options["batch"] == 8
    assert "training on 4 images" in caplog.text  # one of the six of each class
    assert "batches of 4 in the place of 8" in caplog.text
    assert json.loads((tmp_path / "status.json").read_text())["iterations"] == 2


@pytest.mark.parametrize("name", TRAINED)
def test_what_an_encoder_draws_is_what_its_method_can_make(name, images, folder_of, tmp_path):
    pictures = registry.declared("encoders", name).get("PICTURES", [])
    kind = registry.load("encoders", name).Training
    assert set(pictures) <= {"samples", "reconstructions"}
    assert not pictures or hasattr(kind, "decode")
    assert "samples" not in pictures or hasattr(kind, "latents")
    spec = trials.make(CONFIG, "digits", 32, name, small_options(name), 0).spec("train")
    for picture in pictures:
        for out in ("one.png", "two.png"):
            draw(picture, spec, folder_of(name) / "model.safetensors", images, CPU, tmp_path / out)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
        shape = np.asarray(Image.open(tmp_path / "one.png")).shape
        assert (
            shape == {"samples": (4 * 34 + 2, 16 * 34 + 2, 3), "reconstructions": (3 * 34 + 2, 16 * 34 + 2, 3)}[picture]
        )


@pytest.mark.parametrize("name", registry.names("encoders"))
def test_options_that_name_files_are_text_of_stage_embed(name):
    declared = registry.declared("encoders", name)
    for option in declared.get("FILES", ()):
        assert declared["OPTIONS"]["embed"][option]["type"] == "string"


@pytest.mark.parametrize(
    "name", [name for name in registry.names("encoders") if registry.declared("encoders", name).get("ATLAS")]
)
def test_encoder_with_an_atlas(name, images, folder_of, tmp_path):
    made = folder_of(name)
    trial = trials.make(CONFIG, "digits", 32, name, small_options(name), 0)
    model = Model(made / "model.safetensors", made / "status.json") if trial.stage else None
    batch = read_images(images, "val").images
    for batchnorm in ("running", "reestimated"):
        maps = models.maps(trial.spec(), model.file if model else None, ImageFile(images), CPU, batchnorm)(batch)
        assert [*maps] == [*(f"hidden{i}" for i in range(1, len(maps))), "output"]
        assert [each.ndim for each in maps.values()] == [*(4 for _ in maps), 2][1:]
        assert all(each.dtype == torch.float32 and len(each) == len(batch) for each in maps.values())
    atlas.write(trial.spec(), images, model, CPU, tmp_path / "atlas.csv")
    found = pd.read_csv(tmp_path / "atlas.csv")
    assert {"alone", "output", "hidden", "stack", "stack-max", "stack-grid"} == set(found.variant)
    assert found.precision.between(0, 1).all()
    assert found.groupby("batchnorm").share_of_distance.sum().to_numpy() == pytest.approx(1)


def test_a_residual_network_is_trained_embedded_and_mapped(images, tmp_path):
    """On fewer pictures: it is some thirty times the work of the other networks."""
    splits = {}
    for split in SPLITS:
        part = read_images(images, split)
        splits[split] = ImageSource([part.images[:4]], part.labels[:4], part.ids[:4])
    few = tmp_path / "few.h5"
    write_images(few, ImageSet(splits, "abcd", "by hand", "random"), 32)
    chosen = small_options("supervised") | {"architecture": "resnet18", "latent": 16, "batch": 4}
    trial = trials.make(CONFIG, "digits", 32, "supervised", chosen, 0)
    model = Model(tmp_path / "model.safetensors", tmp_path / "status.json")
    train(trial.spec("train"), few, tmp_path, save_every=1000)
    files = EmbeddingFiles(tmp_path / "embeddings.h5", tmp_path / "layers.csv", tmp_path / "embed.json")
    encoders.embed(trial.spec(), few, model, CPU, files)
    made = read_embeddings(files.embeddings)
    widths = {"hidden2": 128, "hidden3": 256, "hidden4": 512 * 16, "output": 16}
    assert {name: part.stop - part.start for name, part in made.layers.items()} == widths
    assert all(np.isfinite(part.features).all() for part in made.splits.values())
    maps = models.maps(trial.spec(), model.file, ImageFile(few), CPU, "running")(read_images(few, "val").images)
    shapes = [(4, 64, 32, 32), (4, 128, 16, 16), (4, 256, 8, 8), (4, 512, 4, 4), (4, 16)]
    assert {name: tuple(each.shape) for name, each in maps.items()} == dict(
        zip(["hidden1", "hidden2", "hidden3", "hidden4", "output"], shapes, strict=True)
    )


def embeddings(path, images, spread):
    """Features that tell the classes apart (spread 1) or nothing (spread 0), through the real file."""
    rng = np.random.default_rng(0)

    def batches(split):
        labels = read_images(images, split).labels
        yield {"all": rng.normal(size=(len(labels), 6)) + spread * 50 * np.eye(6)[labels]}

    write_embeddings(path, images, {split: batches(split) for split in SPLITS}, spec={})
    return path


KEYS = ["protocol", "metric", "split", "k", "distance", "features", "average", "duplicates"]


def score(name, folder, embedded):
    chosen = options(CONFIG, "evaluators", name) | registry.declared("evaluators", name).get("TEST", {})
    evaluators.evaluate(name, embedded, chosen, 0, CPU, folder / "scores.csv", folder / "scores.h5")
    return pd.read_csv(folder / "scores.csv")


def pooled():
    """Metrics of what the lists of all queries recommend, of which more is not better."""
    return [name for name, metric in METRICS.items() if metric.pooled]


@pytest.mark.parametrize("name", registry.names("evaluators"))
def test_evaluator(name, images, tmp_path):
    frames = {}
    for label, spread in (("separable", 1), ("separable again", 1), ("nothing", 0)):
        embeddings(tmp_path / "embeddings.h5", images, spread)
        frames[label] = score(name, tmp_path, tmp_path / "embeddings.h5")
    separable, nothing = frames["separable"], frames["nothing"]
    assert list(separable.columns) == [*KEYS, "value", "low", "high", "n", "chance", "majority", "status"]
    assert separable.equals(frames["separable again"])
    assert not separable.duplicated(KEYS).any()
    assert set(separable.average) <= {"micro", "macro"}
    scores = separable.dropna(subset=["chance", "value"])
    scores = scores[~scores.metric.isin(["accuracy_shuffled", *pooled()])]
    assert "test" in set(scores.split) <= set(SPLITS)
    assert (scores.value >= 0.8).all()
    known = scores.dropna(subset=["low"])  # draws that all come to the same have no interval
    assert (known.low <= known.value).all()
    assert (known.value <= known.high).all()
    assert scores.chance.between(0, 1).all()
    assert set(scores.status) == {"ok"}
    test = nothing[(nothing.split == "test") & nothing.chance.notna() & nothing.low.notna()]
    assert (test[test.metric.isin(["precision", "accuracy"])].value < 0.8).all()
    kept = read_query_scores(tmp_path / "scores.h5", "test")
    assert kept.ids.tolist() == sorted(read_images(images, "test").ids)
    assert kept.scores.shape == (len(kept.rows), 8)
    printed = nothing[nothing.split == "test"]
    printed = printed.assign(**{key: printed[key].astype(object).fillna("") for key in KEYS}).set_index(KEYS).value
    for row, found in zip(kept.rows, kept.scores, strict=True):
        key = tuple("" if row[key] is None else row[key] for key in KEYS)
        assert printed[key] == pytest.approx(np.nanmean(found))


@pytest.mark.parametrize("name", registry.names("evaluators"))
def test_evaluator_passes_a_status_on(name, images, tmp_path):
    model = Model(tmp_path / "absent", tmp_path / "status.json")
    model.status.write_text(json.dumps({"status": "collapsed"}))
    files = EmbeddingFiles(tmp_path / "embeddings.h5", tmp_path / "layers.csv", tmp_path / "embed.json")
    encoders.embed(trials.make(CONFIG, "digits", 32, TRAINED[0], {}, 0).spec(), images, model, CPU, files)
    cost = json.loads(files.cost.read_text())
    assert (cost["images"], cost["images_per_second"]) == (0, None)
    rows = score(name, tmp_path, tmp_path / "embeddings.h5")
    assert len(rows) > 0
    assert set(rows.status) == {"collapsed"}
    assert rows.value.isna().all()
