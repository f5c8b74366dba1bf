import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from visrec.scoring import attributes


def all_rows(squared):
    """Lists with the whole gallery for each query: starts, rows, squared."""
    rows = np.argsort(squared, axis=1, kind="stable")
    queries, gallery = squared.shape
    starts = np.arange(0, queries * gallery + 1, gallery)
    return starts, rows.ravel(), np.take_along_axis(squared, rows, axis=1).ravel()


def jaccard(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


@pytest.mark.parametrize("cells", [1, 50, 10**6])
@pytest.mark.parametrize("k", [1, 4, 20])
def test_ndcg_agrees_with_scikit_learn(k, cells, monkeypatch):
    monkeypatch.setattr(attributes, "CELLS", cells)
    rng = np.random.default_rng(k)
    own, gallery = rng.integers(0, 2, (15, 6), dtype=np.uint8), rng.integers(0, 2, (20, 6), dtype=np.uint8)
    gallery[3] = 0
    squared = rng.integers(0, 6, (15, 20)).astype(float)  # with ties
    gains = np.array([[jaccard(a, b) for b in gallery] for a in own])
    ndcg, chance = attributes.ndcg_jaccard(*all_rows(squared), own, gallery, k)
    theirs = [ndcg_score([gain], [-distance], k=k) for gain, distance in zip(gains, squared, strict=True)]
    np.testing.assert_allclose(ndcg, theirs, rtol=1e-12)
    of_random = [ndcg_score([gain], [np.zeros(20)], k=k) for gain in gains]
    np.testing.assert_allclose(chance, of_random, rtol=1e-12)


def test_ndcg_by_hand():
    own, gallery = np.array([[1, 1, 0]]), np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])  # gains 1/2, 1, 0
    starts, rows, squared = np.array([0, 2]), np.array([0, 1]), np.array([1.0, 2.0])
    second = 1 / np.log2(3)
    ndcg, chance = attributes.ndcg_jaccard(starts, rows, squared, own, gallery, 2)
    assert ndcg == pytest.approx([(1 / 2 + second) / (1 + second / 2)])
    assert chance == pytest.approx([1 / 2 * (1 + second) / (1 + second / 2)])
    tied, _ = attributes.ndcg_jaccard(starts, rows, np.array([1.0, 1.0]), own, gallery, 1)
    assert tied == pytest.approx([3 / 4])
    for without_gain in (np.zeros((1, 3)), np.array([[0, 0, 0]], np.uint8)):
        assert np.isnan(attributes.ndcg_jaccard(starts, rows, squared, without_gain, gallery, 2)).all()
    nobody = np.array([0]), np.zeros(0, int), np.zeros(0)
    assert attributes.ndcg_jaccard(*nobody, np.zeros((0, 3)), gallery, 2)[0].shape == (0,)
