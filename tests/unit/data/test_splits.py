import numpy as np
import pytest

from visrec.data.splits import stratified
from visrec.errors import UserError


def shares(labels, rows):
    return np.bincount(labels[rows]).tolist()


def test_every_split_has_the_shares_of_the_whole():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    rows = stratified(labels, {"train": 700, "val": 100, "test": 200})
    assert {split: shares(labels, part) for split, part in rows.items()} == {
        "train": [420, 210, 70],
        "val": [60, 30, 10],
        "test": [120, 60, 20],
    }
    assert sorted(np.concatenate(list(rows.values()))) == list(range(1000))
    assert all((np.diff(part) > 0).all() for part in rows.values())


def test_shares_are_rounded_by_largest_remainder():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    assert shares(labels, stratified(labels, {"part": 7})["part"]) == [4, 2, 1]  # 3.5, 2.1, 1.4


def test_counts_are_exact_and_splits_disjoint_for_awkward_numbers():
    labels = np.random.default_rng(1).integers(0, 7, 997)
    rows = stratified(labels, {"train": 601, "val": 101, "test": 295})
    assert [len(part) for part in rows.values()] == [601, 101, 295]
    assert len(np.unique(np.concatenate(list(rows.values())))) == 997


def test_a_rare_class_is_in_every_split():
    labels = np.repeat([0, 1], [997, 3])
    rows = stratified(labels, {"train": 800, "val": 100, "test": 100})
    assert [shares(labels, part)[1] for part in rows.values()] == [1, 1, 1]


def test_the_choice_never_changes():
    labels = np.arange(20) % 2
    assert stratified(labels, {"a": 6, "b": 4}, seed=0)["a"].tolist() == [2, 3, 8, 11, 13, 18]
    assert stratified(labels, {"a": 6, "b": 4}, seed=1)["a"].tolist() != [2, 3, 8, 11, 13, 18]


def test_it_is_a_random_choice_and_not_the_first_rows():
    rows = stratified(np.zeros(10_000, int), {"a": 5000})["a"]
    assert abs(rows.mean() - 4999.5) < 120  # 3 standard errors of a draw of half
    assert (rows < 5000).sum() < 2700


def test_fractions():
    labels = np.arange(50) % 5
    assert [len(part) for part in stratified(labels, {"train": 0.7, "val": 0.1, "test": 0.2}).values()] == [35, 5, 10]
    thirds = stratified(labels, {"train": 1 / 3, "val": 1 / 3, "test": 1 / 3})
    assert sum(map(len, thirds.values())) == 50


def test_an_empty_split_and_rows_left_over():
    rows = stratified(np.arange(20) % 2, {"train": 10, "val": 0, "test": 4})
    assert [len(part) for part in rows.values()] == [10, 0, 4]


@pytest.mark.parametrize(
    ("labels", "sizes", "classes", "message"),
    [
        ([0, 1, 0, 1], {"train": 4, "val": 1}, None, r"cats: has 4 images, but the splits need 4 train \+ 1 val"),
        ([0, 0, 0], {"train": 1}, ["a", "b"], "class 'b' has no image"),
        ([0, 0, 0, 1], {"train": 2, "val": 2}, ["a", "b"], "class 'b' has 1 images, too few"),
        ([0, 1, 2, 2], {"train": 2}, None, "train gets 2 images, too few for one of each of 3 classes"),
        ([0, 1], {"train": 0.9, "val": 0.2}, None, "fractions"),
        ([0, 1], {"train": 0.9, "val": -0.2}, None, "fractions"),
    ],
)
def test_what_cannot_be_split_is_refused(labels, sizes, classes, message):
    with pytest.raises(UserError, match=message) as error:
        stratified(np.array(labels), sizes, classes=classes, source="cats")
    assert "\n" not in str(error.value)
