"""Which labels a method sees: a share of each class, the same for every method."""

import numpy as np
import pytest

from visrec.training.labels import shown

LABELS = np.array([0] * 40 + [1] * 11 + [2] * 2 + [-1] * 5)
IDS = np.array([f"picture{row}" for row in range(len(LABELS))])


@pytest.mark.parametrize("share, kept", [(1, [40, 11, 2]), (0.1, [4, 1, 1]), (0.01, [1, 1, 1]), (0.5, [20, 6, 1])])
def test_a_share_of_each_class_is_seen_and_one_picture_at_least(share, kept):
    found = shown(LABELS, IDS, share, 0)
    assert [int((found == one).sum()) for one in range(3)] == kept
    assert (found[found >= 0] == LABELS[found >= 0]).all()
    assert (found[LABELS < 0] == -1).all()


def test_a_smaller_share_is_part_of_a_larger_one_and_the_order_does_not_matter():
    few, more = shown(LABELS, IDS, 0.1, 3) >= 0, shown(LABELS, IDS, 0.5, 3) >= 0
    assert (more[few]).all()
    turned = shown(LABELS[::-1], IDS[::-1], 0.1, 3)[::-1] >= 0
    assert (turned == few).all()


def test_another_seed_shows_others():
    assert (shown(LABELS, IDS, 0.1, 0) != shown(LABELS, IDS, 0.1, 1)).any()
