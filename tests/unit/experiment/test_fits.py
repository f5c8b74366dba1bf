"""What a config and a dataset can tell before anything is trained."""

import logging

import pytest

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.config import check as checked
from visrec.experiment.config import encoder_options
from visrec.experiment.fits import check, fitted, limits

FEW = {"train": {0: 16, 1: 16, 2: 16}, "val": {0: 2, 1: 2, 2: 2}, "test": {0: 2, 1: 2, 2: 2}}


def config(encoders=None, evaluators=None, own=None):
    evaluators = {"knn": {}, "svm": {}} if evaluators is None else evaluators
    datasets = {"photos": {"kind": "image_folder", "path": "p", "sizes": [32], "encoders": own or {}}}
    encoders = {"pixels": {}, "pca": {}, "age": {}, "simclr": {}} if encoders is None else encoders
    return checked({"experiment": "few", "datasets": datasets, "encoders": encoders, "evaluators": evaluators})


def said(config, counts=FEW, encoder="pixels", trial="seed~0"):
    try:
        check(config, counts, "photos", 32, encoder, trial)
    except UserError as error:
        return str(error).splitlines()
    return []


def test_defaults_fit_few_photographs(caplog):
    assert said(config()) == []
    bounds = limits(48, 32)
    with caplog.at_level(logging.WARNING, "visrec"):
        for encoder, name, value, fits in (
            ("age", "batch", 64, 48),
            ("simclr", "batch", 256, 48),
            ("pca", "components", 128, 47),
        ):
            declared = encoder_options(encoder)
            assert declared[name]["default"] == value
            assert fitted(declared, {name: value}, bounds) == {name: fits}
            assert f"{name}: {fits} in the place of the default {value}, for 48 training images" in caplog.text
    caplog.clear()
    assert fitted(encoder_options("pca"), {"components": 128}, limits(10_000, 6)) == {"components": 108}
    assert fitted(encoder_options("pca"), {"components": 128}, limits(129, 32)) == {"components": 128}
    assert fitted(encoder_options("age"), {"batch": 500}, bounds) == {"batch": 500}  # chosen, so an error elsewhere
    labels = registry.declared("evaluators", "few_labels")["OPTIONS"]
    assert fitted(labels, {"labels": 1000}, bounds) == {"labels": 48}
    k = registry.declared("evaluators", "knn")["OPTIONS"]
    assert fitted(k, {"k": [1, 3, 5, 10]}, limits(6)) == {"k": [1, 3, 5]}
    assert fitted(k, {"k": [1, 10]}, limits(6)) == {"k": [1, 10]}


def test_all_that_does_not_fit_is_said_at_once(tmp_path):
    given = {
        "age": {"batch": 64},
        "simclr": {"grid": {"batch": [32, 256]}},
        "pca": {"components": 48},
        "precomputed": {"path": str(tmp_path / "none.h5")},
        "supervised": {},
    }
    remedy = (
        "scores need labels: sort the images into one folder per class, or leave the evaluators out, `evaluators: {}`"
    )
    counts = {"train": {-1: 48}, "val": {}, "test": {-1: 3, 0: 3}}
    assert said(config(given, {"knn": {"k": [1, 48]}, "few_labels": {"labels": 49}}), counts, "pca") == [
        "encoders.age.batch: 64 is too many for 48 training images of 3072 values of photos; write 48 or less",
        "encoders.simclr.batch: 256 is too many for 48 training images of 3072 values of photos; write 48 or less",
        "encoders.pca.components: 48 is too many for 48 training images of 3072 values of photos; write 47 or less",
        f"encoders.precomputed.path: {tmp_path}/none.h5: there is no such file; correct the path",
        "encoders.supervised: is trained with labels, no training image of photos has one; leave it out",
        f"labels are missing for 48 of 48 images of split 'train' of photos; {remedy}",
        "split 'val' of photos has no images to score; give it some in the dataset's split options",
        f"labels are missing for 3 of 6 images of split 'test' of photos; {remedy}",
        "evaluators.knn.k: 48 is too many for 48 training images of photos; write 47 or less, or add pictures",
        "evaluators.few_labels.labels: 49 is too many for 48 training images of photos; write 48 or less, or add "
        "pictures",
    ]


def test_the_trial_that_asks_is_looked_at_too():
    assert said(config(), FEW, "age", "lambda_z~1000+mu_x~10+seed~0") == []
    (line,) = said(config(), FEW, "age", "lambda_z~1000+mu_x~10+batch~100+seed~0")
    assert line.startswith("encoders.age.batch: 100 is too many for 48")


def test_a_datasets_own_options_are_chosen_too():
    (line,) = said(config({"pixels": {}, "pca": {}}, own={"pca": {"components": 128}}))
    assert line.startswith("encoders.pca.components: 128 is too many")


@pytest.mark.parametrize("evaluator", ["svm", "logistic", "few_labels"])
def test_one_class(evaluator):
    one = {split: {0: 6} for split in FEW}
    needed = f"evaluators.{evaluator}: needs training images of 2 classes, photos has 1; leave it out"
    assert said(config({"pixels": {}}, {evaluator: {}}), one) == [needed]
    assert said(config({"supervised": {}}, {}), one) == [
        "encoders.supervised: is trained with labels, all are of one class; leave it out"
    ]


def test_too_few_for_anything():
    one = {"train": {0: 1}, "val": {0: 1}, "test": {0: 1}}
    assert said(config({"pixels": {}, "age": {}, "pca": {}}, {"knn": {}}), one) == [
        "encoders.age.batch: 64: 1 training images of photos are too few for any; add pictures",
        "encoders.pca.components: 128: 1 training images of photos are too few for any; add pictures",
        "evaluators.knn.k: 10 is too many for 1 training images of photos; write 0 or less, or add pictures",
    ]


def test_recommendations_need_no_labels():
    counts = {split: {-1: 30} for split in FEW}
    assert said(config({"pixels": {}}, {"knn": {}}) | {"query": "a.jpg"}, counts) == []


def test_a_file_has_to_be_named_where_it_is_needed_and_not_where_the_encoder_has_its_own():
    assert said(config({"pixels": {}, "pretrained": {}})) == []
    assert said(config({"pixels": {}, "precomputed": {}})) == [
        "encoders.precomputed.path: no file is named; name one",
    ]
