import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from visrec.scoring import moments


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_moments_do_not_depend_on_blocks(rows, monkeypatch):
    features = (np.random.default_rng(0).normal(size=(50, 4)) * [1, 10, 0.1, 0] + [0, 1e3, 1, 0.3]).astype(np.float32)
    monkeypatch.setattr(moments, "ROWS", rows)
    mean, variance = moments.moments(features)
    np.testing.assert_allclose(mean, features.mean(axis=0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(variance, features.var(axis=0, dtype=float), rtol=1e-10, atol=1e-30)


def test_scale_is_that_of_scikit_learn():
    features = np.random.default_rng(0).normal(size=(50, 4)) * [1, 10, 0.1, 0] + [0, 1e3, 1, 0.3]
    for each in (features, features.astype(np.float32), features[:1]):
        scaler = StandardScaler().fit(each.astype(float))
        mean, scale = moments.mean_and_scale(each)
        np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-12)
        np.testing.assert_allclose(scale, scaler.scale_, rtol=1e-12)
        assert scale[3] == 1
