import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import StandardScaler

from visrec.experiment import registry
from visrec.scoring import transforms

LAYERS = {"a": slice(0, 2), "b": slice(2, 6)}


@pytest.fixture
def train():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(400, 6)) * [1, 2, 10, 20, 5, 0.1] + 7).astype(np.float32)


def test_raw_is_the_same_array(train):
    assert transforms.fit("raw", train, LAYERS)(train) is train


def test_standardised_by_hand_and_by_scikit_learn(train):
    column = np.array([[1.0], [3.0]], np.float32)  # mean 2, standard deviation 1
    assert transforms.fit("standardised", column, {})(np.array([[5.0]], np.float32)).tolist() == [[3.0]]
    other = train[::-1] + 1
    expected = StandardScaler().fit(train.astype(float)).transform(other)
    np.testing.assert_allclose(transforms.fit("standardised", train, LAYERS)(other), expected, rtol=1e-4, atol=1e-5)


def test_blocks_give_each_layer_the_same_share_of_the_distance(train):
    out = transforms.fit("blocks", train, LAYERS)(train)
    assert [out[:, part].var(axis=0).sum() for part in LAYERS.values()] == pytest.approx([1, 1], rel=1e-5)
    # Inside a layer proportions stay.
    assert out[:, 3].std() / out[:, 2].std() == pytest.approx(train[:, 3].std() / train[:, 2].std(), rel=1e-5)


def test_output_is_the_last_layer_alone_and_new(train):
    out = transforms.fit("output", train, LAYERS)(train)
    *_, last = LAYERS.values()
    assert np.array_equal(out, train[:, last])
    assert not np.may_share_memory(out, train)
    for features in (train, train[:1]):  # a slice of one row is as contiguous as a copy
        mapped = transforms.mapped(transforms.fit("output", train, LAYERS), lambda features: features, features)
        assert np.array_equal(mapped, features[:, last])


@pytest.mark.parametrize("rows", [400, 5], ids=["more rows than features", "fewer"])
def test_whitened_equals_scikit_learns_pca_up_to_sign(train, rows):
    train, asked = train[:rows], train[-50:]
    out = transforms.fit("whitened", train, LAYERS)(asked)
    pca = PCA(n_components=transforms.WHITENED, whiten=True, svd_solver="full").fit(train.astype(float))
    assert out.shape == (50, pca.n_components_)
    # scikit-learn divides by N - 1, we by N.
    expected = np.abs(pca.transform(asked)) * np.sqrt(rows / (rows - 1))
    np.testing.assert_allclose(np.abs(out), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_constant_features_stay_finite_and_say_nothing(name):
    train = np.full((5, 3), 4.0, np.float32)
    out = transforms.fit(name, train, {"a": slice(0, 3)})(train)
    assert np.isfinite(out).all()
    assert (out == out[0]).all()


@pytest.mark.parametrize("name", list(transforms.TRANSFORMS)[1:])
def test_only_train_is_fitted_and_inputs_stay(name, train):
    before, change = train.copy(), transforms.fit(name, train, LAYERS)
    far = np.array([[1e3] * 6, [-1e3] * 6], np.float32)
    asked = np.concatenate([train[:5], far])
    together, alone = change(asked), change(train[:5])
    # What is far from train would move a mean and a scale of what is asked for.
    np.testing.assert_allclose(together[:5], alone, rtol=1e-5, atol=1e-6)
    assert np.array_equal(train, before)
    assert np.array_equal(asked, np.concatenate([before[:5], far]))


@pytest.mark.parametrize("name", ["standardised", "blocks"])
def test_the_order_of_rows_does_not_show(name, train):
    shuffled = np.random.default_rng(1).permutation(train)
    assert np.array_equal(transforms.fit(name, train, LAYERS)(train), transforms.fit(name, shuffled, LAYERS)(train))


def test_unit_rows_rank_by_cosine(train):
    out = transforms.unit(train - 7)
    np.testing.assert_allclose(out @ out.T, cosine_similarity(train - 7), atol=1e-6)


def test_zero_rows_have_cosine_0_with_others_and_1_with_each_other():
    out = transforms.unit(np.array([[0, 0], [3, 4], [0, 0], [1e-30, 0], [3e38, 0]], np.float32))
    np.testing.assert_allclose(
        out @ out.T,
        [[1, 0, 1, 0, 0], [0, 1, 0, 0.6, 0.6], [1, 0, 1, 0, 0], [0, 0.6, 0, 1, 1], [0, 0.6, 0, 1, 1]],
        atol=1e-6,
    )


def test_options_of_the_evaluator_name_what_is_in_the_tables():
    """The options are literals, read without import: who adds a transform or a distance names it there, too."""
    options = registry.declared("evaluators", "knn")["OPTIONS"]
    assert options["features"]["items"]["enum"] == list(transforms.TRANSFORMS)
    assert options["distances"]["items"]["enum"] == list(transforms.DISTANCES)


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
@pytest.mark.parametrize("distance", transforms.DISTANCES)
def test_mapped_is_both_changes_one_after_the_other(train, name, distance, monkeypatch):
    change, metric = transforms.fit(name, train, LAYERS), transforms.DISTANCES[distance].map
    found = transforms.mapped(change, metric, train)
    assert found.dtype == np.float32
    assert (found is train) == (name == "raw" and distance == "l2")
    np.testing.assert_array_equal(found, metric(change(train)))
    monkeypatch.setattr(transforms, "ROWS", 150)
    np.testing.assert_allclose(transforms.mapped(change, metric, train), found, rtol=1e-6, atol=1e-7)
