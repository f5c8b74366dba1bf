"""Embeddings in two dimensions: against numpy and by hand, and twice the same."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from visrec.data.embeddings import write_embeddings
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.scoring import projection
from visrec.scoring.projection import FEWEST, neighbour_map, principal, trust, write_projection


def write(folder, features, labels=None, status="ok"):
    """embeddings.h5 with these features in test, one layer; labels are classes of two."""
    labels = np.zeros(len(features), np.int64) if labels is None else np.array(labels)
    ids = np.array([f"test {i}" for i in range(len(features))])
    none = np.zeros((0, 3, 8, 8), np.uint8), np.zeros(0, np.int64), np.zeros(0, str)
    own = np.zeros((len(features), 3, 8, 8), np.uint8), labels, ids
    sources = {
        split: ImageSource([pictures], *about)
        for split, (pictures, *about) in {"train": none, "val": none, "test": own}.items()
    }
    write_images(folder / "images.h5", ImageSet(sources, ["cat", "<dog>"], "", ""), 8)
    batches = {split: [{"only": np.zeros((0, features.shape[1]))}] for split in ("train", "val")}
    batches["test"] = [{"only": features}]
    write_embeddings(folder / "embeddings.h5", folder / "images.h5", batches, spec={}, status=status)
    return folder / "embeddings.h5"


def project(folder, *arguments, points=400, **more):
    write_projection(write(folder, *arguments, **more), folder / "out.csv", points)
    return pd.read_csv(folder / "out.csv", keep_default_na=False, na_values=dict.fromkeys(projection.COLUMNS[2:], ""))


def clusters(each=15):
    """Three groups far apart in ten dimensions, and their number."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], each)
    return (20 * np.eye(3, 10)[group] + rng.standard_normal((len(group), 10))).astype(np.float32), group


def test_components_are_those_of_the_covariance():
    features, _ = clusters()
    features = features.astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov(features.T))
    expected = (features - features.mean(axis=0)) @ vectors[:, [-1, -2]]
    found = principal(features)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-8)


def test_a_line_has_one_component():
    place = principal(np.array([[0.0], [3.0], [-3.0]]))
    assert np.abs(place[:, 0]).tolist() == [0, 3, 3]
    assert place[:, 1].tolist() == [0, 0, 0]
    assert principal(np.zeros((0, 4))).shape == (0, 2)
    assert principal(np.ones((1, 4))).tolist() == [[0, 0]]


def test_the_map_keeps_groups_together():
    features, group = clusters()
    place = neighbour_map(features.astype(np.float64))
    apart = np.linalg.norm(place[:, None] - place, axis=2) + 1e9 * np.eye(len(place))
    assert (group[np.argsort(apart, axis=1)[:, :5]] == group[:, None]).all()


def test_trustworthiness_by_hand():
    """Eleven points on a line, no two distances alike, mapped onto it with the two ends exchanged."""
    line = np.arange(11) ** 1.7
    order = line.copy()
    order[[0, 10]] = line[[10, 0]]
    features, place = line[:, None], np.stack([order, np.zeros(11)], axis=1)
    penalty = 0
    for i in range(11):
        rank = {j: r for r, j in enumerate(sorted(set(range(11)) - {i}, key=lambda j: abs(line[i] - line[j])), 1)}
        near = sorted(set(range(11)) - {i}, key=lambda j: abs(order[i] - order[j]))[:5]
        penalty += sum(max(0, rank[j] - 5) for j in near)
    assert trust(features, place) == pytest.approx(1 - penalty * 2 / (11 * 5 * (22 - 15 - 1)))
    assert trust(features, np.stack([line, np.zeros(11)], axis=1)) == 1
    assert np.isnan(trust(features, np.full((11, 2), np.nan)))


def test_the_file_has_the_first_of_the_choice_with_their_own_places(tmp_path):
    features, group = clusters()
    table = project(tmp_path, features, group % 2, points=20)
    assert list(table) == projection.COLUMNS
    digest = {i: hashlib.sha256(f"test {i}".encode()).hexdigest() for i in range(45)}
    turns = [sorted((i for i in range(45) if group[i] % 2 == one), key=digest.get) for one in (0, 1)]
    chosen = [i for pair in zip(*turns, strict=False) for i in sorted(pair, key=digest.get)][:20]
    assert table.id.tolist() == [f"test {i}" for i in chosen]
    assert table.label.tolist() == [["cat", "<dog>"][group[i] % 2] for i in chosen]
    rows = features[chosen].astype(np.float64)
    np.testing.assert_allclose(table[["pca_x", "pca_y"]], principal(rows), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(table[["tsne_x", "tsne_y"]], neighbour_map(rows), rtol=1e-3, atol=1e-3)
    assert table.pca_trustworthiness.unique() == pytest.approx([trust(rows, principal(rows))], rel=1e-5)
    assert table.tsne_trustworthiness.nunique() == 1


def test_two_runs_give_equal_files(tmp_path):
    path = write(tmp_path, clusters()[0])
    for name in ("a.csv", "b.csv"):
        write_projection(path, tmp_path / name, 45)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    "features",
    [np.zeros((0, 4)), np.ones((1, 4)), np.eye(2), clusters()[0][: FEWEST - 1], np.ones((30, 4))],
    ids=["none", "one", "two", "few", "all the same"],
)
def test_what_cannot_be_mapped_has_components_alone(tmp_path, features):
    table = project(tmp_path, np.asarray(features, np.float32))
    assert len(table) == len(features)
    assert table[["pca_x", "pca_y"]].notna().all(axis=None)
    assert table[["tsne_x", "tsne_y", "pca_trustworthiness", "tsne_trustworthiness"]].isna().all(axis=None)


@pytest.mark.parametrize("features", [clusters()[0][:FEWEST], np.arange(20.0)[:, None], np.eye(12)[[0, 1] * 6]])
def test_odd_features_are_mapped(tmp_path, features):
    table = project(tmp_path, np.asarray(features, np.float32))
    assert np.isfinite(table[projection.COLUMNS[2:]]).all(axis=None)


def test_without_labels_and_without_a_training(tmp_path):
    features, group = clusters()
    table = project(tmp_path, features, np.full(len(group), -1))
    assert set(table.label) == {""}
    table = project(tmp_path, features, group % 2, status="diverged")
    assert table.empty
    assert list(table) == projection.COLUMNS
