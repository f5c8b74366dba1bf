"""Words for distances."""

import math

import numpy as np
import pytest

from visrec.recommender.likeness import (
    FAR,
    LIKE,
    SAME,
    UNKNOWN,
    UNUSUAL,
    closer_than,
    in_words,
    same_features,
    typicality,
)


def test_the_share_of_nearest_pairs_that_are_farther_apart():
    own = np.arange(1.0, 101.0)
    assert closer_than(own, np.array([0.0, 1.0, 7.5, 100.0, 200.0])) == pytest.approx([1, 0.99, 0.93, 0, 0])
    assert closer_than(np.repeat([1.0, 2.0], 50), np.array([1.0])) == pytest.approx([0.5])  # equal ones are not farther
    assert np.isnan(closer_than(own[:19], np.array([1.0]))).all()
    assert closer_than(own[:20], np.array([10.0])) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "closer than 100 of 100"),
        (0.9399, "closer than 93 of 100"),
        (0.0101, "closer than 1 of 100"),
        (0.0099, "farther than 99 of 100"),
        (0.0, "farther than 99 of 100"),
        (math.nan, ""),
    ],
)
def test_a_share_in_words(share, words):
    assert in_words(share) == words


def test_typicality_by_hand():
    own = np.arange(1.0, 201.0)  # median 100.5
    same = same_features(own)
    assert same == pytest.approx(0.01005)
    assert typicality(own, 0.0, 1.0, same) == SAME
    assert typicality(own, 0.011, 1.0, same) == LIKE
    assert typicality(own, 0.010, 1.0, same) == SAME
    assert typicality(own, 150.0, 0.05, same) == LIKE
    assert typicality(own, 199.0, 0.0499, same) == typicality(own, 251.0, 0.005, same) == UNUSUAL
    assert typicality(own, 251.5, 0.005, same) == FAR
    assert typicality(np.arange(1.0, 19.0), 9e9, 1 / 19, same) == UNKNOWN
    assert typicality(np.arange(1.0, 20.0), 9e9, 1 / 20, same) == UNKNOWN
    assert typicality(np.arange(1.0, 21.0), 9e9, 1 / 21, same) == FAR
    assert typicality(np.zeros(0), 9e9, 1.0, 0.0) == UNKNOWN


def test_farther_than_all_is_not_far_as_long_as_it_is_of_the_same_order():
    """A picture of the gallery's kind that was enlarged or blurred lies beyond all nearest pairs, but not by much."""
    own = np.linspace(10.0, 12.0, 2000)
    assert typicality(own, 13.0, 1 / 2001, 0.0) == UNUSUAL
    assert typicality(own, 27.4, 1 / 2001, 0.0) == UNUSUAL
    assert typicality(own, 27.6, 1 / 2001, 0.0) == FAR


def test_the_same_features_but_for_rounding():
    half = np.repeat([0.0, 100.0], [60, 40])  # most pictures lie in the gallery twice
    assert same_features(half) == pytest.approx(0.01)
    assert same_features(np.zeros(100)) == 0
    assert same_features(np.zeros(0)) == 0
    assert same_features(np.arange(1.0, 201.0), rounded=0.4) == 0.4  # stored in 16 bits
    assert typicality(np.zeros(100), 0.0, 1.0, 0.0) == SAME
    assert typicality(np.zeros(100), 0.01, 0.0001, 0.0) == FAR
