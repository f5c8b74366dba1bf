import copy
from pathlib import Path

import pytest
import yaml

from visrec.errors import UserError
from visrec.experiment import trials
from visrec.experiment.config import check

ROOT = Path(__file__).parents[3]
CONFIG = {
    "experiment": "x",
    "seeds": [0, 1],
    "datasets": {"digits": {"sizes": [32, 64], "encoders": {"age": {"generator_steps": 3}}}},
    "encoders": {"pixels": {}, "age": {"iterations": 300, "grid": {"lambda_z": [500, 1000], "mu_x": [10]}}},
    "evaluators": {},
}


def test_the_grid_is_every_combination_and_seedless_encoders_once():
    names = [(trial.size, trial.encoder, trial.name) for trial in trials.grid(CONFIG)]
    age = [f"lambda_z~{lam}+mu_x~10+seed~{seed}" for lam in (500, 1000) for seed in (0, 1)]
    assert names == [
        (size, encoder, name)
        for size in (32, 64)
        for encoder, names in (("pixels", ["seed~0"]), ("age", age))
        for name in names
    ]


def test_folder_and_options():
    trial = trials.grid(CONFIG)[1]
    assert trial.folder == "digits/32px/age/lambda_z~500+mu_x~10+seed~0"
    assert trial.options["iterations"] == 300
    assert trial.options["generator_steps"] == 3  # the dataset's own
    assert trial.options["latent"] == 128  # the declared default
    assert "pooling" not in trial.options_of("train")
    assert trial.options_of("embed") == {"batchnorm": "reestimated", "pooling": "average"}


def test_a_datasets_own_options_win_over_the_experiments():
    config = copy.deepcopy(CONFIG)
    config["datasets"]["digits"]["encoders"]["age"]["iterations"] = 7
    assert {trial.options["iterations"] for trial in trials.grid(config) if trial.encoder == "age"} == {7}
    assert trials.base_options(config, "svhn", "age")["iterations"] == 300


def test_what_makes_a_trial_has_its_encoder_its_options_and_its_seed():
    trial = trials.make(CONFIG, "digits", 32, "age", {"kl": "exact"}, 3)
    for spec in (trial.spec("train"), trial.spec()):
        assert (spec.encoder, spec.options["kl"], spec.seed) == ("age", "exact", 3)
    assert trial.spec("embed").options == {"batchnorm": "reestimated", "pooling": "average"}
    assert trial.spec().options == trial.options


def test_a_new_axis_renames_no_old_trial():
    config = copy.deepcopy(CONFIG)
    config["encoders"]["age"]["grid"]["latent"] = [128, 64]
    names = [trial.name for trial in trials.grid(config) if trial.encoder == "age"]
    assert {trial.name for trial in trials.grid(CONFIG) if trial.encoder == "age"} < set(names)
    assert "lambda_z~500+mu_x~10+latent~64+seed~0" in names


def of_age(grid):
    """Names and axes of the trials at 32 px, seed 0."""
    config = copy.deepcopy(CONFIG)
    config["encoders"]["age"]["grid"] = grid
    found = [trial for trial in trials.grid(config) if (trial.encoder, trial.size, trial.seed) == ("age", 32, 0)]
    return [trial.name.removesuffix("+seed~0") for trial in found], [trial.axes for trial in found]


def test_a_list_of_grids_changes_one_thing_at_a_time():
    names, axes = of_age([{}, {"lambda_z": [500, 1000, 2000]}, {"mu_x": [50]}, {"kl": ["reference", "exact"]}, {}])
    assert names == [
        "lambda_z~1000+mu_x~10",
        "lambda_z~500+mu_x~10",
        "lambda_z~2000+mu_x~10",
        "lambda_z~1000+mu_x~50",
        "lambda_z~1000+mu_x~10+kl~exact",
    ]
    assert axes == [(), ("lambda_z",), ("lambda_z",), ("mu_x",), ("kl",)]


def test_a_trial_of_several_grids_keeps_its_first_place():
    names, axes = of_age([{"mu_x": [50, 10]}, {"lambda_z": [1000, 500], "mu_x": [10]}])
    assert names == ["lambda_z~1000+mu_x~50", "lambda_z~1000+mu_x~10", "lambda_z~500+mu_x~10"]
    assert axes == [("mu_x",), ("mu_x",), ("lambda_z", "mu_x")]


def test_every_seed_of_a_setting_comes_before_the_next_grid():
    config = copy.deepcopy(CONFIG)
    config["encoders"] = {"age": {"grid": [{}, {"mu_x": [50]}]}}
    ends = [(trial.size, trial.name.split("+", 1)[1]) for trial in trials.grid(config)]
    assert ends == [(size, f"mu_x~{mu}+seed~{seed}") for size in (32, 64) for mu in (10, 50) for seed in (0, 1)]


def test_one_grid_in_a_list_is_that_grid():
    grid = CONFIG["encoders"]["age"]["grid"]
    assert of_age([grid]) == of_age(grid)
    assert of_age([{}]) == of_age({}) == (["lambda_z~1000+mu_x~10"], [()])


def test_the_axes_of_a_list_are_those_of_all_its_grids_in_order():
    config = copy.deepcopy(CONFIG)
    assert trials.make(config, "digits", 32, "age", {}, 0).grid == ("lambda_z", "mu_x")
    assert trials.make(config, "digits", 32, "pixels", {}, 0).grid == ()
    config["encoders"]["age"]["grid"] = [{}, {"kl": ["exact"]}, {"mu_x": [50], "kl": ["reference"]}, {"latent": [64]}]
    assert trials.make(config, "digits", 32, "age", {}, 0).grid == ("kl", "mu_x", "latent")


def test_the_shipped_lists_of_grids():
    found = {}
    for name in ("age", "study"):
        config = check(yaml.safe_load((ROOT / f"config/cifar10_jpeg_{name}.yaml").read_text()))
        found[name] = [t.name for t in trials.grid(config) if t.encoder == "age" and t.seed == 0]
    base = "lambda_z~1000+mu_x~10"
    assert found["age"] == [f"{base}+iterations~6250+seed~0", f"{base}+halve_every~1667+iterations~6250+seed~0"]
    assert found["study"] == [
        f"{base}+seed~0",
        f"{base}+kl~exact+seed~0",
        "lambda_z~500+mu_x~10+seed~0",
        "lambda_z~2000+mu_x~10+seed~0",
        "lambda_z~1000+mu_x~50+seed~0",
        f"{base}+latent~64+seed~0",
        f"{base}+iterations~4000+seed~0",
        f"{base}+architecture~reference+seed~0",
        f"{base}+precision~fp32+seed~0",
    ]


@pytest.mark.parametrize(
    "name, changed",
    [
        ("lambda_z~750+mu_x~10+seed~3", {"lambda_z": 750}),
        ("lambda_z~1000+mu_x~0.5+seed~0", {"mu_x": 0.5}),
        ("lambda_z~1000+mu_x~10+architecture~reference+batch~32+seed~0", {"architecture": "reference", "batch": 32}),
        ("lambda_z~1000+mu_x~10+learning_rate~1e-05+seed~0", {"learning_rate": 1e-5}),
        ("lambda_z~1000+mu_x~10+learning_rate~1e30+seed~0", {"learning_rate": 1e30}),
    ],
)
def test_a_trial_off_the_grid_is_understood_by_its_name(name, changed):
    trial = trials.parse(CONFIG, "digits", 32, "age", name)
    assert trial.name == name
    base = trials.base_options(CONFIG, "digits", "age")
    assert {key: value for key, value in trial.options.items() if value != base[key]} == {
        key: value for key, value in changed.items() if value != base[key]
    }


def test_every_trial_of_the_grid_parses_to_itself():
    for trial in trials.grid(CONFIG):
        assert trials.parse(CONFIG, trial.dataset, trial.size, trial.encoder, trial.name) == trial


@pytest.mark.parametrize(
    "name, message",
    [
        ("lamda_z~1000+mu_x~10+seed~0", r"unknown key 'lamda_z'; did you mean 'lambda_z'\?"),
        ("lambda_z~many+mu_x~10+seed~0", "lambda_z: 'many' is not of type number"),
        ("lambda_z~1000+mu_x~10+batch~1+seed~0", "batch: '1' is outside"),
        ("lambda_z~1000+mu_x~10+learning_rate~0+seed~0", "learning_rate: '0' is outside"),
        ("lambda_z~inf+mu_x~10+seed~0", "lambda_z: 'inf'"),
        ("lambda_z~nan+mu_x~10+seed~0", "lambda_z: 'nan'"),
        ("lambda_z~1000+mu_x~10+kl~exakt+seed~0", r"'exakt' is unknown; did you mean 'exact'\?"),
        ("lambda_z~1000+mu_x~10+seed~-1", "seed: '-1' is outside"),
        ("mu_x~10+lambda_z~1000+seed~0", r"is written 'lambda_z~1000\+mu_x~10\+seed~0'"),
        ("lambda_z~1000.0+mu_x~10+seed~0", r"is written 'lambda_z~1000\+mu_x~10\+seed~0'"),
        ("lambda_z~1000+mu_x~10+iterations~300+seed~0", r"is written 'lambda_z~1000\+mu_x~10\+seed~0'"),
        ("seed~0", "is written 'lambda_z~1000"),
        ("", "unknown key ''"),
    ],
)
def test_other_names_are_refused_in_one_line(name, message):
    with pytest.raises(UserError, match=message) as error:
        trials.parse(CONFIG, "digits", 32, "age", name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoder, size", [("age", 40), ("age", 128), ("pixels", 7)])
def test_a_size_that_an_encoder_does_not_have(encoder, size):
    with pytest.raises(UserError, match=f"{size} px"):
        name = "lambda_z~1000+mu_x~10+seed~0" if encoder == "age" else "seed~0"
        trials.parse(CONFIG, "digits", size, encoder, name)


def test_an_encoder_that_takes_no_seed_has_one_trial():
    with pytest.raises(UserError, match="'pixels' takes no seed; its trial is 'seed~0'"):
        trials.parse(CONFIG, "digits", 32, "pixels", "seed~1")


@pytest.mark.parametrize(
    "value, text",
    [(10, "10"), (10.0, "10"), (0.5, "0.5"), (1e-5, "1e-05"), (1e30, "1e30"), (True, "true"), ("l1", "l1")],
)
def test_values_in_names(value, text):
    assert trials.format_value(value) == text


def test_a_value_above_what_is_allowed_is_refused():
    with pytest.raises(UserError, match=r"flip: '7' is outside what is allowed"):
        trials.parse(CONFIG, "digits", 32, "simclr", "flip~7+seed~0")
    with pytest.raises(UserError, match=r"average: '1' is outside what is allowed"):
        trials.parse(CONFIG, "digits", 32, "age", "lambda_z~1000+mu_x~10+average~1+seed~0")


def test_what_rules_have_as_parameters_is_compared_by_snakemake():
    """It compares built-in types alone, by their text; a list of trials is one, a trial is not."""
    trial = trials.make(CONFIG, "digits", 32, "age", {"mu_x": 50}, 3)
    assert isinstance(trial.spec(), tuple)
    assert "'mu_x': 50" in repr(trial.spec()) and "'pooling': 'average'" in repr(trial.spec())
    assert "'mu_x': 50" in repr([trial])


@pytest.mark.parametrize(
    "name, message",
    [
        ("lambda_z~1000+mu_x~10+seed~4294967296", "seed: '4294967296' is outside what is allowed"),
        ("lambda_z~1000+mu_x~10+iterations~1e400+seed~0", "iterations: '1e400' is not of type integer"),
        ("lambda_z~nan+mu_x~10+seed~0", "lambda_z: 'nan' is not of type number"),
        ("lambda_z~1000+mu_x~10+iterations~" + "9" * 40 + "+seed~0", "is not of type integer"),
        ("lambda_z~1000+mu_x~10+iterations~100.0+seed~0", "is written 'lambda_z~1000+mu_x~10+iterations~100+seed~0'"),
    ],
)
def test_numbers_in_names(name, message):
    with pytest.raises(UserError) as error:
        trials.parse(CONFIG, "digits", 32, "age", name)
    assert message in str(error.value)


def test_a_name_is_no_longer_than_a_folder_may_be():
    config = copy.deepcopy(CONFIG)
    options = (
        "latent",
        "batch",
        "iterations",
        "generator_steps",
        "precision",
        "schedule",
        "halve_every",
        "weight_decay",
    )
    values = (64, 32, 123_456_789, 5, "fp32", "cosine", 123_456_789, 0.123456789123)
    grid = {name: [value] for name, value in zip(options, values, strict=True)}
    config["encoders"]["age"]["grid"] = grid | {"learning_rate": [0.00012345678912345], "kl": ["exact"]}
    with pytest.raises(UserError, match=r"encoders.age: a trial's name has \d+ characters and names a folder"):
        trials.grid(config)
