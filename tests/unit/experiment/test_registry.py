import pytest

from visrec.errors import UserError
from visrec.experiment import registry


def test_components_are_the_files():
    assert {"age", "pca", "pixels", "random"} <= set(registry.names("encoders"))
    assert "digits" in registry.names("datasets")
    assert {"knn", "svm"} <= set(registry.names("evaluators"))
    assert "__init__" not in registry.names("encoders")


def test_declarations_are_read_without_importing():
    declared = registry.declared("encoders", "age")
    assert declared["STAGE"] == "train"
    assert declared["HEADLINE"] == ["lambda_z", "mu_x"]
    assert declared["OPTIONS"]["train"]["lambda_z"]["default"] == 1000
    assert registry.declared("encoders", "pixels") == {"SEEDED": False, "OPTIONS": {}}


def test_an_unknown_name_is_answered_with_the_nearest_and_all():
    with pytest.raises(
        UserError, match=r"no encoder is called 'pixel'; did you mean 'pixels'\? known: age, pca"
    ) as error:
        registry.load("encoders", "pixel")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no dataset is called 'zzzz'; known: "):
        registry.declared("datasets", "zzzz")
