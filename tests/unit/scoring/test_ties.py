import numpy as np
import pytest

from visrec.scoring import ties

# Lists of entries: two queries with 2 and 4 entries. At k = 2 the second draws one of the three tied at distance 4.
STARTS, SQUARED = np.array([0, 2, 6]), np.array([1.0, 2.0, 1.0, 4.0, 4.0, 4.0])


def test_inclusion_by_hand():
    assert ties.inclusion(STARTS, SQUARED, 2).tolist() == [1, 1, 1, 1 / 3, 1 / 3, 1 / 3]
    assert ties.inclusion(STARTS, SQUARED, 1).tolist() == [1, 0, 1, 0, 0, 0]  # of a search for more
    assert ties.inclusion(np.array([0]), np.zeros(0), 3).shape == (0,)


def test_expected_share_by_hand():
    values = np.array([1, 0, 1, 1, 0, 0], np.uint8)
    assert ties.expected_share(STARTS, SQUARED, values, 2) == pytest.approx([1 / 2, (1 + 1 / 3) / 2])
    assert ties.expected_share(STARTS, SQUARED, values, 1).tolist() == [1, 1]
    columns = np.column_stack([values, 1 - values, 10 * values])
    assert ties.expected_share(STARTS, SQUARED, columns, 2) == pytest.approx(
        np.array([[1 / 2, 1 / 2, 5], [2 / 3, 1 / 3, 20 / 3]])
    )
    assert ties.expected_share(np.array([0]), np.zeros(0), np.zeros((0, 4)), 3).shape == (0, 4)
