import numpy as np
import pytest
from sklearn.decomposition import PCA

from visrec.encoders import pca
from visrec.errors import UserError


@pytest.fixture
def images():
    """Of few kinds, far from zero."""
    random = np.random.default_rng(0)
    kinds = random.integers(100, 200, (3, 3, 4, 4))
    return (kinds[random.integers(0, 3, 30)] + random.integers(-9, 9, (30, 3, 4, 4))).astype(np.uint8)


def test_features_are_scikit_learns_about_the_mean_of_train(images, tmp_path):
    train, new = images[:20], images[20:]
    pca.fit(train, {"components": 5}, 0, tmp_path / "model.safetensors")
    extract = pca.extractor(tmp_path / "model.safetensors", None, {"components": 5}, 0, None)
    features = extract(new, np.full(10, "an id"))["components"]
    expected = PCA(5, svd_solver="full").fit(train.reshape(20, -1) / 255).transform(new.reshape(10, -1) / 255)
    assert np.abs(features) == pytest.approx(np.abs(expected), abs=1e-4)  # an axis has no direction
    assert extract(train, train)["components"].mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-5)


def test_more_components_than_images_is_one_line(images, tmp_path):
    with pytest.raises(
        UserError, match="pca: 20 components of 20 images with 48 values; set `components` to 19 or less"
    ):
        pca.fit(images[:20], {"components": 20}, 0, tmp_path / "model.safetensors")
    pca.fit(images[:20], {"components": 19}, 0, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="it needs two images"):
        pca.fit(images[:1], {"components": 1}, 0, tmp_path / "model.safetensors")
