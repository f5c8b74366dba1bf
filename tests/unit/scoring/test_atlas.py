import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, ImageSet, ImageSource, ImageSplit, write_images
from visrec.data.models import Model
from visrec.encoders import random as untrained
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Spec
from visrec.networks import stack
from visrec.scoring import atlas

CPU = torch.device("cpu")
RANDOM = {"architecture": "dcgan", "width": 1, "latent": 8, "batchnorm": "reestimated", "pooling": "average"}
SHARES = ["share_of_dimensions", "share_of_distance"]


def pictures(labels, seed, size=8):
    """Channel 0 is the label; the others are noise."""
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, size, size), dtype=np.uint8)
    images[:, 0] = (labels * 60)[:, None, None]
    return images


def written(path, splits, classes=4):
    sources = {split: ImageSource([images], labels, np.array(ids)) for split, (images, labels, ids) in splits.items()}
    write_images(path, ImageSet(sources, [*"abcdefg"[:classes]], "", ""), splits["train"][0].shape[-1])
    return path


def four_classes(counts=(400, 120, 0), size=8, order=None):
    """Images of 4 classes; `order` permutes the rows of train."""
    splits = {}
    for seed, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
        labels = np.arange(count) % 4
        ids = np.array([f"{split}{i}" for i in range(count)], dtype=str)
        rows = order if order is not None and split == "train" else slice(None)
        splits[split] = pictures(labels, seed, size)[rows], labels[rows], ids[rows]
    return splits


def known_maps(images):
    """hidden1 (8x8) is noise, hidden2 (6x6) and the output are the label one-hot, hidden3 (4x4) is other noise."""
    x = torch.from_numpy(images).float() / 255
    label = torch.from_numpy(np.eye(4, dtype=np.float32)[images[:, 0, 0, 0] // 60])
    return {
        "hidden1": x[:, 1:2],
        "hidden2": label[:, :, None, None].repeat(1, 1, 6, 6),
        "hidden3": 2 * x[:, 2:, :4, :4],
        "output": label,
    }


class Known:
    """An encoder whose maps are known."""

    asked: tuple = ()

    @classmethod
    def maps(cls, model, source, options, seed, device, batchnorm):
        cls.asked = (model, source, options, seed, device, batchnorm)
        return known_maps


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(registry, "load", lambda kind, name: Known)


def table(path, folder, name="known", options=None, seed=0, **sizes):
    atlas.write(Spec(name, options or {}, seed), path, None, CPU, folder / "atlas.csv", **sizes)
    return pd.read_csv(folder / "atlas.csv").astype({"note": object}).fillna({"note": ""})


def digest(image):
    return hashlib.sha256(image.encode()).hexdigest()


def test_rows_dimensions_and_members(known, tmp_path):
    path = written(tmp_path / "images.h5", four_classes())
    found = table(path, tmp_path)
    assert list(found.columns) == atlas.COLUMNS
    assert found.groupby("batchnorm").size().to_dict() == {"reestimated": 16, "running": 16}
    rows = found[found.batchnorm == "running"]
    assert rows[["variant", "pooling", "layers", "dimensions"]].to_numpy().tolist() == [
        ["alone", "flatten", "hidden1", 64],
        ["alone", "average", "hidden1", 1],
        ["alone", "max", "hidden1", 1],
        ["alone", "grid", "hidden1", 16],
        ["alone", "flatten", "hidden2", 4 * 36],
        ["alone", "average", "hidden2", 4],
        ["alone", "max", "hidden2", 4],
        ["alone", "grid", "hidden2", 4 * 16],
        ["alone", "flatten", "hidden3", 16],  # its grid would be the same
        ["alone", "average", "hidden3", 1],
        ["alone", "max", "hidden3", 1],
        ["output", "flatten", "output", 4],
        ["hidden", "average", "hidden1+hidden2+hidden3", 1 + 4 + 16],
        ["stack", "average", "hidden1+hidden2+hidden3+output", 1 + 4 + 16 + 4],
        ["stack-max", "max", "hidden1+hidden2+hidden3+output", 1 + 4 + 16 + 4],
        ["stack-grid", "grid", "hidden1+hidden2+hidden3+output", 16 + 64 + 16 + 4],
    ]
    assert set(found.k) == {3}
    assert set(found.n) == {120}
    assert set(found.probe_n) == {60}
    assert (found.note == "").all()


def test_a_layer_of_noise_is_near_chance_and_one_that_is_the_label_is_perfect(known, tmp_path):
    path = written(tmp_path / "images.h5", four_classes())
    found = table(path, tmp_path)
    assert found.chance.to_numpy() == pytest.approx(1 / 4)
    label = found[found.layers.isin(["hidden2", "output"])]
    for column in ("precision", "low", "high", "lift", "probe", "probe_low", "probe_high"):
        assert label[column].to_numpy() == pytest.approx(1)
    noise = found[(found.variant == "alone") & found.layers.isin(["hidden1", "hidden3"])]
    assert noise.precision.between(0.17, 0.33).all()
    assert noise.probe.between(0.1, 0.4).all()
    assert noise.lift.to_numpy() == pytest.approx((noise.precision - 1 / 4) / (3 / 4))
    for score, low, high in (("precision", "low", "high"), ("probe", "probe_low", "probe_high")):
        assert (found[low] <= found[score]).all()
        assert (found[score] <= found[high]).all()
        assert (noise[low] < noise[high]).all()


def test_chance_is_that_of_unequal_classes(known, tmp_path):
    splits = four_classes((40, 12, 0))
    for split, labels in (("train", [0] * 30 + [1] * 10), ("val", [0] * 3 + [1] * 9)):
        images, _, ids = splits[split]
        splits[split] = images, np.array(labels), ids
    found = table(written(tmp_path / "images.h5", splits), tmp_path)
    assert found.chance.to_numpy() == pytest.approx(0.25 * 0.75 + 0.75 * 0.25)


def test_shares_are_those_of_the_mean_squared_distance_in_the_gallery(known, tmp_path):
    splits = four_classes((60, 20, 0))
    found = table(written(tmp_path / "images.h5", splits), tmp_path)
    maps = known_maps(splits["train"][0])
    members = {
        ("hidden1", "average"): maps["hidden1"].mean(dim=(2, 3)),
        ("hidden2", "average"): maps["hidden2"].mean(dim=(2, 3)),
        ("hidden3", "flatten"): maps["hidden3"].flatten(1),
        ("output", "flatten"): maps["output"],
    }
    distance = {atom: torch.cdist(x.double(), x.double()).square().mean().item() for atom, x in members.items()}
    for _, rows in found.groupby("batchnorm"):
        given = rows.dropna(subset=SHARES).set_index(["layers", "pooling"])
        assert set(given.index) == set(members)
        assert set(given.variant) == {"alone", "output"}
        assert given[SHARES].sum().tolist() == pytest.approx([1, 1], abs=1e-12)
        for atom, x in members.items():
            assert given.share_of_dimensions[atom] == pytest.approx(x.shape[1] / 25)
            assert given.share_of_distance[atom] == pytest.approx(distance[atom] / sum(distance.values()), rel=1e-5)


def test_constant_features_have_no_share_and_chance_precision(tmp_path):
    images, labels = np.zeros((24, 3, 8, 8), np.uint8), np.arange(24) % 4
    part = ImageSplit(images, labels, np.array([f"{i}" for i in range(24)]))
    rows = pd.DataFrame(atlas.score(known_maps, part, part, 0, CPU, tmp_path))
    assert rows.precision.to_numpy() == pytest.approx(1 / 4)
    assert rows.share_of_distance.isna().all()
    assert rows.share_of_dimensions.sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Images of 32 px for the untrained encoder."""
    folder = tmp_path_factory.mktemp("atlas")
    splits = four_classes((90, 40, 0), size=32)
    for split in ("train", "val"):
        images, labels, ids = splits[split]
        splits[split] = (
            np.where(images > 128, images, images // 2 + 10 * labels[:, None, None, None]).astype(np.uint8),
            labels,
            ids,
        )
    return written(folder / "images.h5", splits), splits


@pytest.mark.parametrize("pooling, variant", [("average", "stack"), ("max", "stack-max")])
@pytest.mark.parametrize("batchnorm", ["running", "reestimated"])
def test_the_stack_is_the_extractors_bit_for_bit(real, tmp_path, batchnorm, pooling, variant):
    path, splits = real
    images, _, ids = splits["train"]
    options = RANDOM | {"batchnorm": batchnorm, "pooling": pooling}
    layers = untrained.extractor(None, ImageFile(path), options, 3, CPU)(images, ids)
    maps = untrained.maps(None, ImageFile(path), options, 3, CPU, batchnorm)
    with atlas._atoms(maps, images, tmp_path) as atoms:
        names = [*dict.fromkeys(layer for layer, _ in atoms)]
        assert names == ["hidden1", "hidden2", "hidden3", "output"]
        members = next(members for name, _, members in atlas._variants(names, atoms.keys()) if name == variant)
        stacked = atlas._read(atoms, members, len(images))
    assert stacked.dtype == np.float32
    assert np.array_equal(stacked, np.concatenate([*layers.values()], axis=1))
    assert [layer for layer, _ in members] == [*layers]


def test_scores_are_those_of_scikit_learn_on_the_extractors_features(real, tmp_path):
    path, splits = real
    found = table(path, tmp_path, "random", RANDOM, seed=3)
    for batchnorm in ("running", "reestimated"):
        extract = untrained.extractor(None, ImageFile(path), RANDOM | {"batchnorm": batchnorm}, 3, CPU)
        known, asked = (
            np.concatenate([*extract(splits[split][0], splits[split][2]).values()], axis=1)
            for split in ("train", "val")
        )
        (row,) = found[(found.batchnorm == batchnorm) & (found.variant == "stack")].to_dict("records")
        neighbours = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(known.astype(float))
        hits = splits["train"][1][neighbours.kneighbors(asked.astype(float))[1]] == splits["val"][1][:, None]
        assert row["precision"] == pytest.approx(hits.mean())

        order = np.argsort([digest(image) for image in splits["val"][2]])
        choosing, scored = order[:20], order[20:]
        scaler = StandardScaler().fit(known)
        accuracies = []
        for C in atlas.C_GRID:
            svm = LinearSVC(C=C, dual=True, tol=1e-8, max_iter=100_000).fit(scaler.transform(known), splits["train"][1])
            correct = svm.predict(scaler.transform(asked)) == splits["val"][1]
            accuracies.append((correct[choosing].mean(), correct[scored].mean()))
        assert row["probe"] == pytest.approx(max(accuracies, key=lambda pair: pair[0])[1])
        assert row["probe_n"] == 20


def test_the_sample_is_by_id_and_does_not_depend_on_the_order_of_rows(known, tmp_path, monkeypatch):
    monkeypatch.setattr(atlas, "ROWS_AT_ONCE", 7)
    one = written(tmp_path / "one.h5", four_classes())
    order = np.random.default_rng(1).permutation(400)
    two = written(tmp_path / "two.h5", four_classes(order=order))
    samples = [atlas._sample(path, "train", 50) for path in (one, two)]
    expected = sorted((f"train{i}" for i in range(400)), key=digest)[:50]
    for sample in samples:
        assert sample.ids.tolist() == expected
        assert (sample.images[:, 0, 0, 0] == sample.labels * 60).all()
    assert np.array_equal(samples[0].images, samples[1].images)
    assert len(atlas._sample(one, "val", 1000).ids) == 120
    found = [table(path, tmp_path, images=50, queries=30) for path in (one, two)]
    pd.testing.assert_frame_equal(*found)
    assert set(found[0].n) == {30}


def test_the_encoder_is_asked_for_both_batchnorm_modes(known, tmp_path):
    path = written(tmp_path / "images.h5", four_classes((20, 8, 0)))
    (tmp_path / "status.json").write_text(json.dumps({"status": "ok"}))
    model = Model(tmp_path / "m", tmp_path / "status.json")
    atlas.write(Spec("x", {"a": 1}, 5), path, model, CPU, tmp_path / "a.csv", images=10)
    assert Known.asked == (tmp_path / "m", ImageFile(path), {"a": 1}, 5, CPU, "reestimated")


def test_what_is_too_wide_has_no_probe(known, tmp_path, monkeypatch):
    monkeypatch.setattr(atlas, "WIDEST", 25)
    found = table(written(tmp_path / "images.h5", four_classes((40, 20, 0))), tmp_path)
    wide = found[found.dimensions > 25]
    assert set(wide.note) == {"too wide for the probe"}
    assert wide[["probe", "probe_low", "probe_high"]].isna().all(axis=None)
    assert wide.precision.notna().all()
    narrow = found[found.dimensions <= 25]
    assert 25 in set(narrow.dimensions)
    assert narrow.probe.notna().all()


def solution(predicted, converged=True):
    """Predicts for a query by its first value, which is its row."""
    return SimpleNamespace(predict=lambda X: np.array(predicted)[X[:, 0].astype(int)], converged=converged)


@pytest.mark.parametrize(
    "predicted, accuracy",
    [
        # The labels are 0 0 0 1 1 1 1; the first three choose.
        ([[1, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1, 1]], 1 / 4),  # the worst where it counts
        ([[0, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0, 0]], 3 / 4),  # of equals, the smallest C
    ],
)
def test_the_weight_is_chosen_on_one_half_and_scored_on_the_other(monkeypatch, predicted, accuracy):
    given = {}

    def fit(X, y, C_grid, classes, loss):
        given.update(X=X, y=y, C_grid=C_grid, classes=classes)
        return [solution(each) for each in predicted]

    monkeypatch.setattr(atlas.linear_probe, "fit", fit)
    X, y = np.array([[0.0, 5], [2, 5], [4, 5]], np.float32), np.array([0, 1, 1])
    queries = np.arange(7, dtype=np.float32)[:, None].repeat(2, axis=1)
    found = atlas._probe(atlas._Task(X, y, queries, np.array([0, 0, 0, 1, 1, 1, 1])), 0, CPU)
    assert found["probe"] == accuracy
    assert found["probe_n"] == 4
    assert found["note"] == ""
    standardised = given["X"].rows.changed(slice(None), torch.float64)[:, :-1].numpy()
    assert standardised == pytest.approx(StandardScaler().fit_transform(X))
    assert (given["y"].tolist(), given["C_grid"], given["classes"].tolist()) == ([0, 1, 1], atlas.C_GRID, [0, 1])
    assert X.tolist() == [[0, 5], [2, 5], [4, 5]]


def test_a_probe_that_did_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(atlas.linear_probe, "fit", lambda *given: [solution([0, 0], converged=False)])
    X, y = np.eye(2, dtype=np.float32), np.array([0, 1])
    found = atlas._probe(atlas._Task(X, y, X, y), 0, CPU)
    assert np.isnan([found["probe"], found["probe_low"], found["probe_high"]]).all()
    assert found["note"] == "the probe did not converge"


@pytest.mark.parametrize("queries, labels, note", [(1, 4, "too few queries"), (8, 1, "two classes")])
def test_what_cannot_be_probed_says_so(tmp_path, queries, labels, note):
    parts = []
    for count in (24, queries):
        ids = np.array([f"{i}" for i in range(count)])
        parts.append(ImageSplit(pictures(np.arange(count) % 4, 0), np.arange(count) % labels, ids))
    rows = atlas.score(known_maps, *parts, 0, CPU, tmp_path)
    assert all(note in row["note"] for row in rows)
    assert np.isnan([row["probe"] for row in rows]).all()


def test_a_failed_training_has_the_header_only(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps({"status": "collapsed"}))
    model = Model(tmp_path / "no.safetensors", tmp_path / "status.json")
    atlas.write(Spec("age", {}, 0), tmp_path / "no.h5", model, CPU, tmp_path / "atlas.csv")
    assert (tmp_path / "atlas.csv").read_text().splitlines() == [",".join(atlas.COLUMNS)]


def test_nothing_but_the_table_is_left(known, tmp_path):
    path = written(tmp_path / "images.h5", four_classes((20, 8, 0)))
    (tmp_path / "out").mkdir()
    table(path, tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["atlas.csv"]


def test_what_cannot_be_scored_is_one_line(known, tmp_path, monkeypatch):
    empty = written(tmp_path / "empty.h5", four_classes((20, 0, 0)))
    with pytest.raises(UserError, match="split 'val' has no images"):
        table(empty, tmp_path)
    splits = four_classes((20, 8, 0))
    images, labels, ids = splits["val"]
    splits["val"] = images, np.where(labels == 1, -1, labels), ids
    with pytest.raises(UserError, match="labels are missing for 2 of 8 images of split 'val'"):
        table(written(tmp_path / "unlabelled.h5", splits), tmp_path)
    few = written(tmp_path / "few.h5", four_classes((20, 8, 0)))
    with pytest.raises(UserError, match="k = 3"):
        table(few, tmp_path, images=2)
    monkeypatch.setattr(
        Known, "maps", lambda *given: lambda images: known_maps(images) | {"hidden2": torch.full((1, 1, 1, 1), np.nan)}
    )
    with pytest.raises(UserError, match="a feature of layer 'hidden2' is not finite"):
        table(few, tmp_path)
    assert not (tmp_path / "atlas.csv").exists()


def test_poolings_of_the_atlas_are_those_of_the_stack(tmp_path):
    labels = np.arange(5) % 4
    with atlas._atoms(known_maps, pictures(labels, 0), tmp_path) as atoms:
        for layer, pooling in atoms:
            features = atlas._read(atoms, [(layer, pooling)], 5)
            assert np.array_equal(features, stack.POOLING[pooling](known_maps(pictures(labels, 0))[layer]).numpy())
        assert atlas._read(atoms, [("hidden2", "max")], 5).tolist() == np.eye(4)[labels].tolist()
    assert not [*tmp_path.iterdir()]
