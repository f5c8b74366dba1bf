"""Every dataset, encoder and evaluator found keeps its contract. A new file is picked up by itself."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import small_archives
import torch
from small_archives import checksum

from visrec import datasets, encoders, evaluators
from visrec.data.embeddings import read_embeddings, write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, ImageSet, ImageSource, read_image_info, read_images, write_images
from visrec.data.query_scores import read_query_scores
from visrec.experiment import registry, trials
from visrec.experiment.config import encoder_options, options
from visrec.recommender.choice import embeds_new_pictures
from visrec.scoring import atlas

CPU = torch.device("cpu")
CONFIG = {"experiment": "contract", "seeds": [0], "datasets": {}, "encoders": {}, "evaluators": {}}
# What makes an encoder cheap enough to fit here, where its declared defaults are meant for real data.
SMALL = {"pca": {"components": 5}, "age": {"iterations": 2, "batch": 8, "precision": "fp32"}}
TRAINING_FILES = {
    "encoder": "encoder.safetensors",
    "generator": "generator.safetensors",
    "history": "history.csv",
    "samples": "samples.png",
    "reconstructions": "reconstructions.png",
    "status": "status.json",
}


def features_of(images, path):
    """A file of features made elsewhere: noise, in the reverse order of the ids."""
    ids = np.concatenate([read_images(images, split).ids for split in SPLITS])[::-1]
    with h5py.File(path, "w") as file:
        file["ids"] = ids.astype(object)
        file["features"] = np.random.default_rng(0).normal(size=(len(ids), 3))


# What makes the files that an encoder's options name (its FILES), from images.h5.
GIVEN = {"precomputed": {"path": features_of}}


@pytest.mark.parametrize("kind", registry.KINDS)
def test_declarations_have_defaults_and_descriptions(kind):
    for name in registry.names(kind):
        declared = registry.declared(kind, name)["OPTIONS"]
        for option in encoder_options(name).values() if kind == "encoders" else declared.values():
            assert "default" in option
            assert option["description"].endswith(".")


# Options that fit the small archives of `small_archives`, which has a function for each dataset that has archives.
FEW = {
    "svhn": {"train": 50, "val": 10, "test": 20},
    "cifar10": {"train": 60, "val": 20, "test": 20},
    "celeba": {"train": 12, "val": 6, "test": 6},
    "tiny_imagenet": {"val": 8, "test": 16},
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


def make(name, images, folder, seed=0):
    folder.mkdir()
    chosen = dict(SMALL.get(name, {}))
    for option in registry.declared("encoders", name).get("FILES", ()):
        chosen[option] = str(folder / f"{option}.h5")
        GIVEN[name][option](images, chosen[option])
    trial = trials.make(CONFIG, "digits", 32, name, chosen, seed)
    stage = registry.declared("encoders", name).get("STAGE")
    model, status = (folder / "encoder.safetensors", folder / "status.json") if stage else (None, None)
    if stage == "fit":
        encoders.fit(name, images, trial.options_of("fit"), seed, model, status)
    elif stage == "train":
        encoders.train(
            name,
            images,
            trial.options_of("train"),
            seed,
            CPU,
            {key: folder / file for key, file in TRAINING_FILES.items()},
            folder / "checkpoints",
            {"iterations": 1, "minutes": 60},
        )
        assert not (folder / "checkpoints").exists()
    out = (folder / file for file in ("embeddings.h5", "layers.csv", "embed.json"))
    encoders.embed(name, images, model, status, trial.options, seed, CPU, *out, commit="abc1234")
    cost = json.loads((folder / "embed.json").read_text())
    counts = read_image_info(images).counts
    assert (cost["images"], cost["device"], cost["commit"]) == (sum(counts.values()), "cpu", "abc1234")
    assert cost["images_per_second"] == pytest.approx(cost["images"] / cost["seconds"], rel=0.05)  # rounded
    return read_embeddings(folder / "embeddings.h5")


@pytest.mark.parametrize("name", registry.names("encoders"))
def test_encoder(name, images, tmp_path):
    made, again = make(name, images, tmp_path / "one"), make(name, images, tmp_path / "two")
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


@pytest.mark.parametrize("name", registry.names("encoders"))
def test_encoder_never_sees_labels(name, images, tmp_path):
    shuffled = tmp_path / "shuffled.h5"
    splits = {}
    for split in SPLITS:
        part = read_images(images, split)
        splits[split] = ImageSource([part.images], part.labels[::-1], part.ids)
    write_images(shuffled, ImageSet(splits, "abcd", "", ""), 32)
    one, two = make(name, images, tmp_path / "one"), make(name, shuffled, tmp_path / "two")
    for split in SPLITS:
        assert np.array_equal(one.splits[split].features, two.splits[split].features)


@pytest.mark.parametrize("name", [name for name in registry.names("encoders") if embeds_new_pictures(name)])
def test_encoder_embeds_pictures_that_are_not_in_its_images(name, images, tmp_path):
    """The same pixels under another name have the same features, whatever else is in the batch."""
    made = make(name, images, tmp_path / "made").splits["test"].features
    model = tmp_path / "made/encoder.safetensors" if registry.declared("encoders", name).get("STAGE") else None
    chosen = trials.make(CONFIG, "digits", 32, name, SMALL.get(name, {}), 0).options
    extract = registry.load("encoders", name).extractor(model, ImageFile(images), chosen, 0, CPU)
    batch = read_images(images, "test").images[:3]
    found = np.concatenate([*extract(batch, np.array(["new0", "new1", "new2"])).values()], axis=1)
    assert found == pytest.approx(made[:3], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", registry.names("encoders"))
def test_options_that_name_files_are_text_of_stage_embed(name):
    declared = registry.declared("encoders", name)
    for option in declared.get("FILES", ()):
        assert declared["OPTIONS"]["embed"][option]["type"] == "string"


@pytest.mark.parametrize(
    "name", [name for name in registry.names("encoders") if registry.declared("encoders", name).get("ATLAS")]
)
def test_encoder_with_an_atlas(name, images, tmp_path):
    make(name, images, tmp_path / "made")
    stage = registry.declared("encoders", name).get("STAGE")
    model = tmp_path / "made/encoder.safetensors" if stage else None
    chosen = trials.make(CONFIG, "digits", 32, name, SMALL.get(name, {}), 0).options
    batch = read_images(images, "val").images
    for batchnorm in ("running", "reestimated"):
        maps = registry.load("encoders", name).maps(model, ImageFile(images), chosen, 0, CPU, batchnorm)(batch)
        assert [*maps] == [*(f"hidden{i}" for i in range(1, len(maps))), "output"]
        assert [each.ndim for each in maps.values()] == [*(4 for _ in maps), 2][1:]
        assert all(each.dtype == torch.float32 and len(each) == len(batch) for each in maps.values())
    atlas.write(name, images, model, None, chosen, 0, CPU, tmp_path / "atlas.csv")
    found = pd.read_csv(tmp_path / "atlas.csv")
    assert {"alone", "output", "hidden", "stack", "stack-max", "stack-grid"} == set(found.variant)
    assert found.precision.between(0, 1).all()
    assert found.groupby("batchnorm").share_of_distance.sum().to_numpy() == pytest.approx(1)


def embeddings(path, images, spread):
    """Features that tell the classes apart (spread 1) or nothing (spread 0), through the real file."""
    rng = np.random.default_rng(0)

    def batches(split):
        labels = read_images(images, split).labels
        yield {"all": rng.normal(size=(len(labels), 6)) + spread * 50 * np.eye(6)[labels]}

    write_embeddings(path, images, {split: batches(split) for split in SPLITS}, spec={})
    return path


# Options under which an evaluator has something to say of 24 training images.
EVALUATED = {"knn": {"k": [1, 3]}, "few_labels": {"labels": 12, "draws": 3}}
KEYS = ["protocol", "metric", "split", "k", "distance", "features", "average", "duplicates"]


def score(name, folder, embedded):
    chosen = options(CONFIG, "evaluators", name) | EVALUATED.get(name, {})
    evaluators.evaluate(name, embedded, chosen, 0, CPU, folder / "scores.csv", folder / "scores.h5")
    return pd.read_csv(folder / "scores.csv")


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
    scores = separable.dropna(subset=["chance", "low"])  # what the lists recommend has no interval
    scores = scores[scores.metric != "accuracy_shuffled"]
    assert "test" in set(scores.split) <= set(SPLITS)
    assert (scores.value >= 0.8).all()
    assert (scores.low <= scores.value).all()
    assert (scores.value <= scores.high).all()
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
    encoders_status = tmp_path / "status.json"
    encoders_status.write_text(json.dumps({"status": "collapsed"}))
    trial = trials.make(CONFIG, "digits", 32, "age", {}, 0)
    out = (tmp_path / file for file in ("embeddings.h5", "layers.csv", "embed.json"))
    encoders.embed("age", images, tmp_path / "x", encoders_status, trial.options, 0, CPU, *out)
    cost = json.loads((tmp_path / "embed.json").read_text())
    assert (cost["images"], cost["images_per_second"]) == (0, None)
    rows = score(name, tmp_path, tmp_path / "embeddings.h5")
    assert len(rows) > 0
    assert set(rows.status) == {"collapsed"}
    assert rows.value.isna().all()
