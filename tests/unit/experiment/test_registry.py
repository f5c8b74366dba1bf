import re
import shutil

import pytest

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.registry import PACKAGE


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
    assert registry.declared("encoders", "pixels").keys() == {"TITLE", "SEEDED", "OPTIONS"}


def test_an_unknown_name_is_answered_with_the_nearest_and_all():
    with pytest.raises(
        UserError, match=r"no encoder is called 'pixel'; did you mean 'pixels'\? known: age, age_labels, "
    ) as error:
        registry.load("encoders", "pixel")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no dataset is called 'zzzz'; known: "):
        registry.declared("datasets", "zzzz")


@pytest.fixture
def declared_by(tmp_path, monkeypatch):
    """What an encoder with this text declares, beside the real files that options are shared from."""

    def declare(text):
        for folder in ("training", "networks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            for path in (PACKAGE / folder).glob("*.py"):
                shutil.copy(path, tmp_path / folder)
        (tmp_path / "encoders").mkdir(exist_ok=True)
        (tmp_path / "encoders/one.py").write_text(text)
        monkeypatch.setattr(registry, "PACKAGE", tmp_path)
        registry.declared.cache_clear()
        registry._literals.cache_clear()
        return registry.declared("encoders", "one")

    yield declare
    monkeypatch.undo()
    registry.declared.cache_clear()
    registry._literals.cache_clear()


TRAINED = (
    'STAGE = "train"\nREADINGS = {}\nOPTIONS = {"train": {"own": {"default": 1}}}\n'
    'OPTIONS_OF = {"train": ["training"], "embed": ["stack"]}\n'
)


def test_shared_options_are_those_of_their_file_with_defaults_of_its_own(declared_by):
    found = declared_by(TRAINED + 'DEFAULTS = {"batch": 7}\n')["OPTIONS"]
    assert {"own", "batch", "iterations"} <= found["train"].keys()
    assert found["train"]["batch"]["default"] == 7
    assert found["train"]["iterations"]["default"] == 10000
    assert found["embed"].keys() == {"batchnorm", "pooling"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"stack"]', '"stak"]', "no options are shared as 'stak'; did you mean 'stack'?"),
        ('"own"', '"batch"', "option 'batch' is there twice, once of 'training'; rename its own"),
        ("READINGS = {}", "", "a trained encoder needs READINGS, see docs/adding-an-encoder.md"),
        (', "embed": ["stack"]', "", "a trained encoder needs OPTIONS_OF 'stack', see"),
        ("READINGS = {}", 'DEFAULTS = {"bath": 7}\nREADINGS = {}', "DEFAULTS: no option is called 'bath'"),
    ],
)
def test_what_a_trained_encoder_declares_wrongly_is_one_line(declared_by, old, new, message):
    with pytest.raises(UserError, match=re.escape(f"encoders/one.py: {message}")):
        declared_by(TRAINED.replace(old, new))


VARIANT = 'LIKE = "age"\nLABELS = True\nOPTIONS = {"train": {"own": {"default": 1}}}\nDEFAULTS = {"batch": 7}\n'


def test_a_variant_declares_what_the_other_does_but_for_what_is_its_own(declared_by):
    declared_by(TRAINED)  # for the folder
    shutil.copy(PACKAGE / "encoders/age.py", registry.PACKAGE / "encoders")
    found, age = declared_by(VARIANT + 'READINGS = {"mine": {"title": "Mine"}}\n'), registry.declared("encoders", "age")
    assert found["OPTIONS"]["train"].keys() == age["OPTIONS"]["train"].keys() | {"own"}
    assert found["OPTIONS"]["embed"] == age["OPTIONS"]["embed"]
    assert (found["OPTIONS"]["train"]["batch"]["default"], age["OPTIONS"]["train"]["batch"]["default"]) == (7, 64)
    assert found["READINGS"] == age["READINGS"] | {"mine": {"title": "Mine"}}
    assert (found["PICTURES"], found["LABELS"], "LABELS" in age) == (age["PICTURES"], True, False)
    with pytest.raises(UserError, match="no encoder is called 'agee'; did you mean 'age'"):
        declared_by(VARIANT.replace("age", "agee"))


def test_whoever_draws_reconstructions_has_a_reading_of_their_error(declared_by):
    assert "reconstruction_error" not in declared_by(TRAINED)["READINGS"]
    assert "reconstruction_error" in declared_by(TRAINED + 'PICTURES = ["reconstructions"]\n')["READINGS"]
