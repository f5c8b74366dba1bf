import h5py
import numpy as np
import pytest
import torch

from visrec.data import duplicates
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.errors import UserError


def scene(seed: int, size: int = 32) -> np.ndarray:
    """A smooth random picture, uint8 (3, S, S), with structure that survives making it small."""
    coarse = np.random.default_rng(seed).integers(30, 220, (3, 8, 8))
    return np.kron(coarse, np.ones((1, size // 8, size // 8))).astype(np.uint8)


def found(tmp_path, train, val=(), test=()):
    splits = {}
    for split, pictures in (("train", train), ("val", val), ("test", test)):
        pixels = np.array(pictures, np.uint8).reshape(-1, 3, 32, 32)
        ids = np.array([f"{split}{i}" for i in range(len(pixels))])
        splits[split] = ImageSource([pixels], np.zeros(len(pixels)), ids)
    write_images(
        tmp_path / "images.h5",
        ImageSet(splits, ["a"], "", ""),
        32,
        lambda file: {"duplicates": duplicates.pairs(file)},
    )
    with h5py.File(tmp_path / "images.h5") as file:
        return file["duplicates"][:]


def plain(table):
    return [(int(a_split), int(a), int(b_split), int(b)) for a_split, a, b_split, b, _ in table]


def test_equal_images_are_paired_across_splits_with_similarity_one(tmp_path):
    table = found(tmp_path, [scene(0), scene(1)], [scene(2)], [scene(1), scene(3), scene(2)])
    assert plain(table) == [(0, 1, 2, 0), (1, 0, 2, 2)]
    assert table["similarity"].tolist() == [1, 1]


def test_near_duplicates_are_found_and_are_not_exact(tmp_path):
    brighter = np.clip(scene(0) * 0.8 + 40, 0, 255)
    noisy = np.clip(scene(1) + np.random.default_rng(9).normal(0, 3, (3, 32, 32)), 0, 255)
    table = found(tmp_path, [scene(0), scene(1), scene(2)], [], [brighter, noisy, scene(4)])
    assert plain(table) == [(0, 0, 2, 0), (0, 1, 2, 1)]
    assert ((table["similarity"] >= duplicates.THRESHOLD) & (table["similarity"] < 1)).all()


def test_mirrored_and_other_pictures_are_not_duplicates(tmp_path):
    assert len(found(tmp_path, [scene(seed) for seed in range(40)], [], [scene(0)[:, :, ::-1]])) == 0


def test_flat_pictures_are_duplicates_only_if_equal(tmp_path):
    grey = [np.full((3, 32, 32), value) for value in (100, 101, 100)]
    faint = np.full((3, 32, 32), 100)
    faint[:, :4] = 102
    assert plain(found(tmp_path, grey[:2], [], [grey[2], faint])) == [(0, 0, 2, 0)]


def test_every_copy_is_paired_with_the_first_of_each_split(tmp_path):
    table = found(tmp_path, [scene(0), scene(0), scene(0)], [scene(0)], [scene(0)])
    assert plain(table) == [(0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 0), (0, 0, 2, 0), (1, 0, 2, 0)]


def test_tiles_do_not_matter(tmp_path, monkeypatch):
    pictures = [scene(seed % 7) + (seed > 7) for seed in range(12)]
    whole = found(tmp_path, pictures, [], pictures[:3])
    monkeypatch.setattr(duplicates, "ROWS", 3)
    assert np.array_equal(found(tmp_path, pictures, [], pictures[:3]), whole)
    assert len(whole) > 5


def test_count_by_hand():
    table = np.array(
        [(0, 0, 2, 5, 1.0), (0, 1, 2, 5, 0.995), (0, 1, 2, 6, 0.995), (0, 0, 0, 3, 1.0)], dtype=duplicates.PAIR
    )
    counted = duplicates.count(table)
    assert counted["test in train"] == {"exact": 1, "near": 2}
    assert counted["train in train"] == {"exact": 1, "near": 1}
    assert counted["test in val"] == {"exact": 0, "near": 0}


def test_miniatures_are_centred_and_of_norm_one():
    small = duplicates.miniatures(np.stack([scene(0), scene(1)]))
    assert np.abs(small.mean(axis=1)).max() < 1e-6
    assert np.linalg.norm(small, axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("size", [8, 16, 28, 32, 40, 64])
def test_miniatures_are_torchs_mean_over_areas(size):
    images = np.random.default_rng(size).integers(0, 256, (5, 3, size, size), dtype=np.uint8)
    grey = torch.from_numpy(images).double().mean(dim=1, keepdim=True)
    small = torch.nn.functional.interpolate(grey, size=(16, 16), mode="area").flatten(1).numpy()
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    found = duplicates.miniatures(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, small, atol=1e-6)


def test_all_pairs_of_a_brute_force_and_no_other(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pictures = [scene(row % 9) for row in range(60)]
    noisy = [np.clip(each + rng.normal(0, rng.choice([0, 4, 12, 25]), each.shape), 0, 255) for each in pictures]
    pixels = np.array(noisy, np.uint8)
    small = duplicates.miniatures(pixels).astype(np.float64)
    wanted = set()
    for b in range(60):
        equal = [a for a in range(b) if (pixels[a] == pixels[b]).all()]
        wanted |= {(equal[0], b)} if equal else set()
        wanted |= {(a, b) for a in range(b) if a not in equal and small[a] @ small[b] >= duplicates.THRESHOLD}
    monkeypatch.setattr(duplicates, "ROWS", 16)
    monkeypatch.setattr(duplicates, "LOADED", 7)
    table = found(tmp_path, pixels)
    assert {(a, b) for _, a, _, b in plain(table)} == wanted
    assert 50 < len(wanted) < 1000
    for _, a, _, b, similarity in table:
        assert similarity == pytest.approx(1 if (pixels[a] == pixels[b]).all() else small[a] @ small[b], abs=2e-6)


def test_more_near_duplicates_than_memory_holds_are_one_line(tmp_path, monkeypatch):
    frames = [np.clip(scene(1) + np.random.default_rng(i).normal(0, 3, (3, 32, 32)), 0, 255) for i in range(5)]
    monkeypatch.setattr(duplicates, "MOST", 10)
    assert len(found(tmp_path, frames)) == 10
    monkeypatch.setattr(duplicates, "MOST", 9)
    with pytest.raises(UserError, match=r"more than 9 pairs among 5 pictures; .* keep some of each scene"):
        found(tmp_path, frames)


def test_partners_are_the_training_images_that_resemble_a_query():
    table = np.array(
        [
            # train 0, 3 and 5 are one picture, and val 1 too; of these, the table has test 2 near to train 3 alone
            (0, 0, 0, 3, 1.0),
            (0, 0, 0, 5, 1.0),
            (0, 3, 2, 2, 0.97),
            (0, 0, 1, 1, 1.0),
            (0, 7, 0, 8, 0.98),
            (1, 1, 2, 4, 0.99),  # test 4 is near to val 1, hence to train 0, 3 and 5, which equal it
            (1, 9, 2, 9, 0.99),  # nothing in train
        ],
        dtype=duplicates.PAIR,
    )
    assert duplicates.partners(table, "test").tolist() == [[2, 0], [2, 3], [2, 5], [4, 0], [4, 3], [4, 5]]
    assert duplicates.partners(table, "val").tolist() == [[1, 0], [1, 3], [1, 5]]
    assert duplicates.partners(table, "train").tolist() == [
        [0, 3], [0, 5], [3, 0], [3, 5], [5, 0], [5, 3], [7, 8], [8, 7],
    ]  # fmt: skip
    assert duplicates.partners(table[:0], "test").shape == (0, 2)
