"""A trial that answers for new pictures, from any folder."""

import json
import subprocess
import sys

import numpy as np
import pytest
from recommender_fixture import PIXELS, make, save, shade

import visrec
from visrec.data.embeddings import write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.encoders import digests
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.registry import PACKAGE
from visrec.experiment.trials import Spec
from visrec.jobs import fingerprint
from visrec.recommender import catalogue
from visrec.recommender.answers import answers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("recommender"))


def test_three_lines_from_any_folder_without_torch_before(made, tmp_path):
    save(tmp_path / "photo.png", 17)
    program = (
        "import sys, json, visrec\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
        f"trial = visrec.load({str(made / PIXELS)!r})\n"
        "features = trial.embed(['photo.png'])\n"
        "found = trial.search(features, k=5)\n"
        "shapes = [str(features.dtype), *features.shape, *found.ids.shape, *found.distances.shape]\n"
        "print(json.dumps([shapes, found.ids.tolist(), found.paths, found.labels, found.distances.tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert done.returncode == 0, done.stderr
    shapes, ids, paths, labels, distances = json.loads(done.stdout)
    assert shapes == ["float32", 1, 768, 1, 5, 1, 5]
    values = np.stack([shade(i) for i in range(30)]).reshape(30, -1) / 255
    true = np.sqrt(((values - values[17]) ** 2).sum(axis=1))
    order = np.argsort(true)[:5]
    assert ids == [[f"train{row}" for row in order]]
    assert ids[0][0] == "train17"
    assert distances[0] == pytest.approx(true[order], rel=1e-5, abs=1e-5)
    assert labels == [[("left", "right")[row % 2] for row in order]]
    assert paths == [[""] * 5]


def test_a_folder_as_gallery(made, tmp_path):
    trial = visrec.load(made / PIXELS, made / "photos", threads=1)
    features = trial.embed([made / "photos/boots/3.png", (made / "photos/shoes/7.png").read_bytes()])
    found = trial.search(features, k=3)
    assert [row[0] for row in found.paths] == [str(made / "photos/boots/3.png"), str(made / "photos/shoes/7.png")]
    assert [row[0] for row in found.labels] == ["boots", "shoes"]
    assert found.distances[:, 0].tolist() == [0, 0]
    assert len(trial.search(features, k=100).ids[0]) == 10
    assert not list((made / "photos").rglob("*.h5"))


def brute(features, query, k):
    squared = ((features.astype(float) - query) ** 2).sum(axis=1)
    return np.argsort(squared, kind="stable")[:k], np.sqrt(np.sort(squared)[:k])


@pytest.mark.parametrize("root", [None, "photos"])
def test_by_cosine_and_by_the_output_alone(made, root, monkeypatch):
    gallery = root and made / root
    pictures = [made / "photos/boots/3.png"]
    plain = visrec.load(made / PIXELS, gallery)
    query, features = plain.embed(pictures), plain.gallery.features

    cosine = visrec.load(made / PIXELS, gallery, space=("raw", "cosine"))
    assert np.array_equal(cosine.embed(pictures), query)  # what is kept of a picture does not depend on the space
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    rows, distances = brute(units, query / np.linalg.norm(query), 5)
    found = cosine.search(query, k=5)
    assert found.rows[0].tolist() == rows.tolist()
    np.testing.assert_allclose(found.distances[0], distances, atol=1e-5)

    assert visrec.load(made / PIXELS, gallery, space=("output", "cosine")).space == ("raw", "cosine")  # of one layer
    two = {"hidden": slice(0, 700), "output": slice(700, 768)}
    monkeypatch.setattr("visrec.recommender.recommender.layers_of", lambda file: two)
    output = visrec.load(made / PIXELS, gallery, space=("output", "l2"))
    rows, distances = brute(features[:, 700:], query[:, 700:], 5)
    found = output.search(query, k=5)
    assert found.rows[0].tolist() == rows.tolist()
    np.testing.assert_allclose(found.distances[0], distances, atol=1e-5)
    assert output.gallery.identity != cosine.gallery.identity != plain.gallery.identity
    (answer,) = answers(output, ["photo"], query, 5)
    assert answer.distances.tolist() == found.distances[0].tolist()


def test_an_unknown_space_is_refused(made):
    with pytest.raises(UserError, match="cannot recommend by 'whitened' and 'l2'; name raw or output, and l2 or c"):
        visrec.load(made / PIXELS, space=("whitened", "l2"))


def test_two_galleries_do_not_push_each_other_out(made, tmp_path, monkeypatch):
    save(tmp_path / "other/1.png", 400)
    for _ in range(2):
        for root in (made / "photos", tmp_path / "other"):
            trial = visrec.load(made / PIXELS, root)
            trial.search(trial.embed([tmp_path / "other/1.png"]), k=1)
            monkeypatch.setattr(trial, "features", None)
    monkeypatch.setattr(
        "visrec.recommender.catalogue._embedded",
        lambda pictures, embedder: iter(()) if not pictures else pytest.fail("again"),
    )
    assert len(visrec.load(made / PIXELS, made / "photos").gallery.ids) == 10
    assert len(visrec.load(made / PIXELS, tmp_path / "other").gallery.ids) == 1


def test_each_recommender_keeps_its_own_index(made):
    one, two = visrec.load(made / PIXELS), visrec.load(made / PIXELS, made / "photos")
    first = one.index(3)
    assert len(two.index(3).features) == 10
    assert one.index(3) is first
    assert one.index(4) is first  # an exact one is the same for every k
    large = visrec.load(made / PIXELS, approximate=(1, 0.95))
    assert large.index(4) is not large.index(3)


def test_identity_changes_with_network_options_and_training_images(made, tmp_path):
    def changed(edit):
        folder = tmp_path / "shoes/16px/pca/seed~0"
        if not folder.exists():
            folder.mkdir(parents=True)
        for name in ("model.safetensors", "embeddings.h5"):
            (folder / name).write_bytes((made / PIXELS).parents[1].joinpath("pca/seed~0", name).read_bytes())
        (tmp_path / "shoes/16px/images.h5").write_bytes((made / PIXELS).parents[1].joinpath("images.h5").read_bytes())
        trial = visrec.load(folder)
        edit(trial)
        return trial.identity

    same = changed(lambda trial: None)
    assert same == changed(lambda trial: None)
    assert same != changed(lambda trial: trial.spec["options"].update(components=6))
    assert same != changed(lambda trial: trial._model.write_bytes(b"another network"))
    assert same != changed(lambda trial: setattr(trial, "_images_fingerprint", "other"))
    assert same != changed(lambda trial: trial.spec.update(encoder="pixels"))


def test_what_cannot_answer_is_refused_in_one_line(made, tmp_path):
    folder = (made / PIXELS).parents[1]
    with pytest.raises(UserError, match=r"embeddings\.h5: is missing; let `snakemake` make it"):
        visrec.load(folder / "pixels/seed~1")
    for name, spec, status, message in (
        ("diverged", {"encoder": "age"}, "diverged", "training ended as 'diverged', so it cannot embed pictures"),
        ("precomputed", {"encoder": "precomputed"}, "ok", "encoder 'precomputed' cannot embed new pictures"),
    ):
        batches = {split: [{"x": np.zeros((count, 2))}] for split, count in (("train", 30), ("val", 4), ("test", 4))}
        path = folder / f"{name}/seed~0/embeddings.h5"
        write_embeddings(path, folder / "images.h5", batches, spec=spec, status=status)
        with pytest.raises(UserError, match=message):
            visrec.load(path.parent)
    with pytest.raises(UserError, match=r"broken\.png: is empty \(0 bytes\); leave it out"):
        (tmp_path / "broken.png").touch()
        visrec.load(folder / "pixels/seed~0").embed([tmp_path / "broken.png"])


def test_embeddings_of_other_pictures_are_refused(made, tmp_path):
    folder = tmp_path / "16px/pixels/seed~0"
    folder.mkdir(parents=True)
    (folder / "embeddings.h5").write_bytes((made / PIXELS / "embeddings.h5").read_bytes())
    splits = {split: ImageSource([shade(9)[None]], np.array([0]), np.array([split])) for split in SPLITS}
    write_images(tmp_path / "16px/images.h5", ImageSet(splits, ["a"], "", ""), 16)
    with pytest.raises(UserError, match="was made from other pictures than"):
        visrec.load(folder)


def test_a_network_from_another_file_than_the_galleries_is_refused(made, tmp_path):
    folder, weights = (made / PIXELS).parents[1] / "pretrained/seed~0", tmp_path / "weights.pth"
    weights.write_bytes(b"one network")
    spec = Spec("pretrained", {"weights": str(weights)}, 0)
    batches = {split: [{"x": np.zeros((count, 2))}] for split, count in (("train", 30), ("val", 4), ("test", 4))}
    made_by = spec._asdict() | {"files": digests(spec)}
    write_embeddings(folder / "embeddings.h5", folder.parents[1] / "images.h5", batches, spec=made_by)
    before = visrec.load(folder).identity
    weights.write_bytes(b"another network")
    with pytest.raises(UserError, match="was made with another file than `weights` names now"):
        visrec.load(folder)
    made_by["files"] = digests(spec)
    write_embeddings(folder / "embeddings.h5", folder.parents[1] / "images.h5", batches, spec=made_by)
    assert visrec.load(folder).identity != before
    weights.unlink()
    with pytest.raises(UserError, match=r"weights\.pth: there is no such file; correct `weights` in the config"):
        visrec.load(folder)


def test_what_is_embedded_is_what_the_gallery_holds(made):
    trial = visrec.load((made / PIXELS).parents[1] / "pca/seed~0", made / "photos")
    here = trial.gallery
    paths = [made / "photos" / paths[0] for paths in here.paths]
    assert trial.embed(paths) == pytest.approx(here.features, rel=1e-5, abs=1e-5)
    assert trial.gallery.labels == [catalogue.parents([str(path)])[str(path)] for path in paths]


def test_the_identity_of_features_follows_all_code_that_makes_them():
    """Also the stacking of a trained network's layers, which its own file does not reach."""
    for encoder in ("age", "random", "pca"):
        walk = fingerprint._Walk()
        walk.follow(None, registry.roots_of(encoder, "extractor"))
        assert encoder == "pca" or {("networks.stack", "members"), ("networks.stack", "to_unit_range")} <= walk.seen
