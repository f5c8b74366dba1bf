import warnings

import numpy as np
import pytest
import safetensors.torch
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models import inception_v3

from visrec.errors import UserError
from visrec.scoring import frechet

CPU = torch.device("cpu")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_gaussians_by_hand():
    zero, one = np.zeros(1), np.ones((1, 1))
    assert frechet.frechet_distance(zero, one, zero + 3, one) == pytest.approx(9)  # means alone
    assert frechet.frechet_distance(zero, one, zero, 4 * one) == pytest.approx((2 - 1) ** 2)  # (s_a - s_b)^2
    # Diagonal covariances: (0 - 1)^2 + (0 - 2)^2 + (1 - 3)^2 + (2 - 5)^2
    distance = frechet.frechet_distance(np.zeros(2), np.diag([1.0, 4.0]), np.array([1.0, 2.0]), np.diag([9.0, 25.0]))
    assert distance == pytest.approx(1 + 4 + 4 + 9)


def test_covariances_that_do_not_commute_by_hand():
    # C_a C_b = [[0, 2], [0, 0]] + ...: of rank one, trace 1 * 1/2, so tr of the root is sqrt(1/2)
    a, b = np.array([[1.0, 0], [0, 0]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    zero = np.zeros(2)
    assert frechet.frechet_distance(zero, a, zero, b) == pytest.approx(2 - 2 * np.sqrt(0.5))


def test_statistics_by_hand():
    mean, covariance = frechet.statistics(np.array([[0, 0], [2, 4]], np.float32))
    assert mean.tolist() == [1, 2]
    assert covariance.tolist() == [[2, 4], [4, 8]]
    assert frechet.statistics(np.array([[1.0], [3.0]]))[1].tolist() == [[2]]  # one feature: still a matrix
    assert frechet.statistics(np.ones((5, 3)))[1].tolist() == np.zeros((3, 3)).tolist()
    with pytest.raises(ValueError, match="two rows"):
        frechet.statistics(np.ones((1, 3)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(2, 30))
def test_equals_torchmetrics(seed, width, rows):  # with fewer rows than features covariances are singular
    from torchmetrics.image.fid import _compute_fid  # here: it takes long, and every worker reads this file

    a = frechet.statistics(normal(rows, width, seed=seed))
    b = frechet.statistics(normal(rows + 3, width, seed=seed + 1) @ normal(width, width, seed=seed + 2) + 0.5)
    theirs = float(_compute_fid(*(torch.from_numpy(each) for each in (*a, *b))))
    ours = frechet.frechet_distance(*a, *b)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert ours == pytest.approx(frechet.frechet_distance(*b, *a), rel=1e-6, abs=1e-6)


def test_equals_scipys_matrix_root():
    a, b = (frechet.statistics(normal(40, 6, seed=seed) * (1 + seed) + seed) for seed in (0, 1))
    root = scipy.linalg.sqrtm(a[1] @ b[1]).real
    expected = np.square(a[0] - b[0]).sum() + np.trace(a[1] + b[1] - 2 * root)
    assert frechet.frechet_distance(*a, *b) == pytest.approx(expected, rel=1e-9)


def test_the_distance_to_itself_is_zero_and_never_negative():
    for rows in (5, 50):
        a = frechet.statistics(100 * normal(rows, 20))
        assert 0 <= frechet.frechet_distance(*a, *a) < 1e-6 * np.trace(a[1])


@pytest.fixture(scope="module")
def reference():
    """Inception with random weights that expects images normalised as for ImageNet."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = inception_v3(weights=None, transform_input=True, init_weights=False)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")  # so that a signal reaches the end
    return net.eval()


@pytest.fixture(scope="module")
def weights(reference, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    torch.save(reference.state_dict(), folder / "inception.pth")
    safetensors.torch.save_file(reference.state_dict(), folder / "inception.safetensors")
    return folder


def pictures(count, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


@torch.no_grad()
def test_features_are_those_before_the_classifier_with_imagenet_preprocessing(reference, weights):
    images = pictures(2, 13).repeat(23, axis=2).repeat(23, axis=3)  # 299 px: nothing is resized
    got = [
        frechet.inception_features(frechet.load_inception(weights / name, CPU), images, CPU)
        for name in ("inception.pth", "inception.safetensors")
    ]
    assert got[0].shape == (2, 2048)
    assert got[0].dtype == np.float32
    assert np.array_equal(got[0], got[1])

    pooled = []
    hook = reference.avgpool.register_forward_hook(lambda module, inputs, output: pooled.append(output.flatten(1)))
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    reference((torch.from_numpy(images) / 255 - mean[:, None, None]) / spread[:, None, None])
    hook.remove()
    expected = pooled[0].numpy()
    apart = np.linalg.norm(expected[0] - expected[1])
    assert apart > 0.02 * np.linalg.norm(expected)  # or the comparison would say nothing
    assert np.abs(got[0] - expected).max() < 1e-4 * apart


def test_images_are_resized_and_batched():
    shapes = []

    class Probe(torch.nn.Module):
        def forward(self, x):
            shapes.append(tuple(x.shape))
            return x.mean(dim=(2, 3))

    images = np.repeat(np.array([0, 51, 255], np.uint8), 30)[:, None, None, None] + np.zeros((1, 3, 8, 8), np.uint8)
    means = frechet.inception_features(Probe(), images, CPU)
    assert shapes == [(64, 3, 299, 299), (26, 3, 299, 299)]
    assert means[:, 0].tolist() == pytest.approx([-1.0] * 30 + [-0.6] * 30 + [1.0] * 30, abs=1e-5)


def test_what_is_wrong_with_the_weights_is_said_in_one_line(weights, tmp_path):
    whole = (weights / "inception.pth").read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("<html>404</html>")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("<html>404</html>")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"state_dict": {}}, tmp_path / "nested.pth")
    torch.save(pytest.approx(1), tmp_path / "object.pth")  # an object: weights_only refuses it
    torch.save({1: torch.zeros(1)}, tmp_path / "number.pth")
    for name, program in (("key", b"h\0"), ("index", b"("), ("type", b"}]Ns")):  # the errors that these end in
        (tmp_path / f"{name}.pth").write_bytes(b"\x80\x02" + program + b".")
    for name, message in (
        ("number.pth", "is not a state dict"),
        ("key.pth", "cannot be read"),
        ("index.pth", "cannot be read"),
        ("type.pth", "cannot be read"),
        ("absent.pth", "does not exist"),
        ("absent.safetensors", "does not exist"),
        ("short.pth", "cannot be read"),
        ("text.pth", "cannot be read"),
        ("empty.pth", "cannot be read"),
        ("text.safetensors", "cannot be read"),
        ("object.pth", "cannot be read"),
        (".", "cannot be read"),
        ("other.pth", "does not hold"),
        ("tensor.pth", "is not a state dict"),
        ("nested.pth", "is not a state dict"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            frechet.load_inception(tmp_path / name, CPU)
        assert "\n" not in str(caught.value)
