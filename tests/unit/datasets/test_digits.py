import numpy as np
import pytest
from sklearn.datasets import load_digits

from visrec.datasets import digits


def test_every_split_has_its_share_of_each_digit():
    made, target = digits.read(8, {}, {}, 1), load_digits().target
    seen = []
    for split, count in (("train", 1297), ("val", 250), ("test", 250)):
        part = made.splits[split]
        assert len(part.labels) == count
        expected = np.bincount(target) * count / len(target)
        assert np.bincount(part.labels) == pytest.approx(expected, abs=1)  # a random split would be 5 off
        rows = [int(name.removeprefix("digits-")) for name in part.ids]
        assert part.labels.tolist() == target[rows].tolist()
        seen += rows
    assert sorted(seen) == list(range(len(target)))


def test_a_scan_is_grey_and_goes_from_black_to_white():
    made = digits.read(8, {}, {}, 1).splits["test"]
    row = int(made.ids[0].removeprefix("digits-"))
    picture = made.batches[0][0]
    assert (picture == np.round(load_digits().images[row] * 255 / 16)).all()  # 8 px: as they are, in all channels
