import copy
import re
from pathlib import Path

import pytest
import yaml

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.config import (
    SECTIONS,
    archives,
    check,
    check_interpreter,
    component_of,
    encoder_options,
    options,
    schema,
)

ROOT = Path(__file__).parents[3]
DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def test_the_shipped_configs_are_valid():
    shipped = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "config").glob("*.yaml")}
    assert {"config.yaml", "paper.yaml", "digits_teachers.yaml"} <= shipped.keys()
    for config in shipped.values():
        check(config)


def test_defaults_are_filled_in():
    checked = check({key: DEMO[key] for key in ("experiment", "datasets", "encoders", "evaluators")})
    report = {"queries": 12, "neighbours": 5, "searched": 1000, "points": 400}
    assert (checked["device"], checked["seeds"], checked["report"]) == ("auto", [0], report)
    assert check(DEMO | {"report": {"queries": 3}})["report"] == report | {"queries": 3}
    assert checked["embeddings"] == {"dtype": "float32", "keep": True}
    assert check(DEMO | {"embeddings": {"keep": False}})["embeddings"] == {"dtype": "float32", "keep": False}


def broken(path: str, value) -> dict:
    config = copy.deepcopy(DEMO)
    *parents, last = path.split(".")
    node = config
    for key in parents:
        node = node[key]
    node[last] = value
    return config


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("sedes", [0], "unknown key 'sedes'; did you mean 'seeds'? known: "),
        ("datasets.digit", {"sizes": [32]}, "datasets: unknown key 'digit'; did you mean 'digits'?"),
        ("datasets.digits.size", 32, "datasets.digits: unknown key 'size'; did you mean 'sizes'?"),
        ("datasets.digits.sizes", [7], "datasets.digits.sizes.0: 7 is less than the minimum of 8"),
        ("datasets.digits.sizes", [0], "datasets.digits.sizes.0: 0 is less than the minimum of 8"),
        ("report", {"queries": 101}, "report.queries: 101 is greater than the maximum of 100"),
        ("report", {"neighbours": 51}, "report.neighbours: 51 is greater than the maximum of 50"),
        ("encoders.age", {"architecture": "resnet18"}, "encoders.age.architecture: unknown value 'resnet18'; "),
        ("datasets.digits.sizes", [40], "has no 40 px; it knows 32, 64"),
        (
            "datasets.digits.encoders",
            {"age": {"iteration": 3}},
            "datasets.digits.encoders.age: unknown key 'iteration'",
        ),
        ("datasets", {}, "datasets: "),
        ("encoders.pixel", {}, "encoders: unknown key 'pixel'; did you mean 'pixels'?"),
        ("encoders.pca", None, "encoders.pca: None is not of type 'object'"),
        ("encoders.age.lambda", 1000, "encoders.age: unknown key 'lambda'; did you mean 'lambda_z'?"),
        ("encoders.age.kl", "exct", "encoders.age.kl: unknown value 'exct'; did you mean 'exact'?"),
        ("encoders.age.grid", {"mu": [1]}, "encoders.age.grid: unknown key 'mu'; did you mean 'mu_x'?"),
        ("encoders.age.grid", {"mu_x": []}, "encoders.age.grid.mu_x: [] should be non-empty"),
        ("encoders.age.grid", [{}, {"mu": [1]}], "encoders.age.grid.1: unknown key 'mu'; did you mean 'mu_x'?"),
        ("encoders.age.grid", [{"mu_x": []}], "encoders.age.grid.0.mu_x: [] should be non-empty"),
        ("encoders.age.grid", [], "encoders.age.grid: [] should be non-empty"),
        ("encoders.age.batch", "many", "encoders.age.batch: 'many' is not of type 'integer'"),
        ("evaluators.svm.C", ["1e-4"], "is not of type 'number'; YAML reads it as text, write it with a point: 1.0e-4"),
        ("evaluators.svn", {}, "evaluators: unknown key 'svn'; did you mean 'svm'?"),
        ("encoders.age.latent", 10**9, "encoders.age.latent: 1000000000 is greater than the maximum of 65536"),
        ("seeds", [2**32], "seeds.0: 4294967296 is greater than the maximum of 4294967295"),
        ("seeds", [10**30], "seeds.0: 1000000000000000000000000000000 is too large"),
        ("seeds", [0, 1.5], "seeds.1: 1.5 is not of type 'integer'"),
        ("seeds", [float("nan")], "seeds.0: nan is no finite number"),
        ("encoders.age.grid", {"lambda_z": [float("nan")]}, "encoders.age.grid.lambda_z.0: nan is no finite number"),
        ("encoders.age.learning_rate", float("inf"), "encoders.age.learning_rate: inf is no finite number"),
        ("evaluators.svm.C", [float("-inf")], "evaluators.svm.C.0: -inf is no finite number"),
        ("datasets.digits.sizes", [10**9], "datasets.digits.sizes.0: 1000000000 is greater than the maximum of 1024"),
        ("experiment", "demo\n", "experiment: 'demo\\n' has a control character; remove it"),
        ("experiment", "x" * 300, "is too long"),
        ("experiment", 2024, "experiment: 2024 is not of type 'string'; YAML reads it so, write it in quotes: '2024'"),
        ("query", 20240512, "query: 20240512 is not of type 'string'; Snakemake reads it so, write a path that begins"),
        ("query", ["a"], "query: ['a'] is not of type 'string'; Snakemake reads it so, write a path that begins"),
        ("archives", "my {old} files", "'my {old} files' does not match '^[^{}]*\\\\Z'; Snakemake takes { and } for"),
        ("archives", "a\u202eb", "archives: 'a\\u202eb' has a control character"),
        ("datasets.2024", 1, "datasets: unknown key '2024'"),
        ("k" * 10_000, 1, "unknown key 'kkkkkk"),
        ("encoders.age.kl", "e" * 10_000, "encoders.age.kl: unknown value 'eeeeee"),
        ("seeds", "[" * 5000, "is not of type 'array'"),
        ("seeds", [], "seeds: [] should be non-empty"),
        ("experiment", "../up", "experiment: '../up' does not match"),
        ("device", "gpu", "device: unknown value 'gpu'"),
        (
            "embeddings",
            {"dtype": "float64"},
            "embeddings.dtype: unknown value 'float64'; did you mean 'float16'? known: ",
        ),
        ("embeddings", {"keep": "no"}, "embeddings.keep: 'no' is not of type 'boolean'"),
        ("embeddings", {"kep": False}, "embeddings: unknown key 'kep'; did you mean 'keep'?"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(path, value, message):
    with pytest.raises(UserError) as error:
        check(broken(path, value))
    assert str(error.value).startswith("config: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("key, kind", [(2024, "a int"), (None, "nothing"), (True, "a bool")])
def test_keys_are_text(key, kind):
    config = copy.deepcopy(DEMO)
    config["datasets"] = {key: {"kind": "digits", "sizes": [32]}}
    with pytest.raises(UserError) as error:
        check(config)
    assert str(error.value) == f"config: datasets: YAML reads the key {key} as {kind}; write it in quotes, '{key}'"


def test_a_grid_beyond_all_measure():
    """100^4 settings: to list them would take hours."""
    options = ("lambda_z", "mu_x", "iterations", "latent")
    grid = {name: [*range(2, 102)] for name in options}
    with pytest.raises(UserError, match=r"asks for 100,000,00\d trials, 10,000 at most; shorten the grids, or `seeds`"):
        check(broken("encoders.age.grid", grid))
    with pytest.raises(UserError, match=r"asks for .* trials"):
        check(DEMO | {"seeds": [*range(20_000)]})


def test_whole_floats_are_whole_numbers():
    config = check(broken("seeds", [0, 1.0]) | {"checkpoints": {"iterations": 100.0, "minutes": 2.0}})
    assert repr(config["seeds"]) == "[0, 1]"
    assert repr(config["checkpoints"]) == "{'iterations': 100, 'minutes': 2.0}"
    config = check(broken("encoders.age.grid", [{"iterations": [5.0], "mu_x": [10.0]}]))
    assert repr(config["encoders"]["age"]["grid"]) == "[{'iterations': [5], 'mu_x': [10.0]}]"
    assert repr(check(broken("datasets.digits.sizes", [32.0]))["datasets"]["digits"]["sizes"]) == "[32]"
    assert repr(check(broken("evaluators.knn.k", [1.0, 3]))["evaluators"]["knn"]["k"]) == "[1, 3]"


def test_a_config_that_grows_without_end():
    bomb = ["x"] * 9
    for _ in range(9):
        bomb = [bomb] * 9
    with pytest.raises(UserError, match="config: has more than 100,000 values; repeat no part of it"):
        check(DEMO | {"seeds": bomb})
    deep = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(UserError, match=r"config: seeds\.0\.0.*: is nested more than 20 deep"):
        check(DEMO | {"seeds": deep})


def test_a_missing_part_is_named():
    with pytest.raises(UserError, match="config: 'encoders' is a required property"):
        check({key: value for key, value in DEMO.items() if key != "encoders"})


def test_options_are_defaults_overridden_by_the_config():
    config = broken("evaluators.knn.k", [7])
    declared = registry.declared("evaluators", "knn")["OPTIONS"]
    assert options(config, "evaluators", "knn") == {key: each["default"] for key, each in declared.items()} | {"k": [7]}
    config["evaluators"] = {}
    assert options(config, "evaluators", "knn")["k"] == [1, 3, 5, 10]


def test_a_dataset_of_your_own_name_says_its_kind():
    config = copy.deepcopy(DEMO)
    config["datasets"] = {"scans": {"kind": "digits", "sizes": [32]}, "digits": {"sizes": [32]}}
    checked = check(config)
    assert [component_of(checked, name) for name in ("scans", "digits", "other")] == ["digits", "digits", "other"]
    for name, keys, message in (
        ("scans", {"kind": "digit", "sizes": [32]}, "no dataset is called 'digit'; did you mean 'digits'?"),
        ("scans", {"sizes": [32]}, "datasets: unknown key 'scans'"),
        ("my scans", {"kind": "digits", "sizes": [32]}, "'my scans' may have letters, digits and _ only"),
        ("scans", {"kind": "digits", "size": [32]}, "datasets.scans: unknown key 'size'; did you mean 'sizes'?"),
    ):
        config["datasets"] = {name: keys}
        with pytest.raises(UserError) as error:
            check(config)
        assert message in str(error.value)


def test_archives_are_declared_overridden_or_found_in_a_folder(monkeypatch, tmp_path):
    published = {
        "a.zip": {"url": "http://x/a.zip", "checksum": "md5:1"},
        "b.txt": {"url": "http://x/b", "checksum": "md5:2"},
    }
    monkeypatch.setattr(registry, "declared", lambda kind, name: {"OPTIONS": {}, "ARCHIVES": published})
    config = {"datasets": {"faces": {"archives": {"b.txt": {"path": "/there/b.txt", "checksum": "md5:3"}}}}}
    assert archives(config, "faces") == {
        "a.zip": published["a.zip"],
        "b.txt": {"url": "http://x/b", "checksum": "md5:3", "path": "/there/b.txt"},
    }
    (tmp_path / "a.zip").touch()
    assert archives(config | {"archives": str(tmp_path)}, "faces")["a.zip"]["path"] == str(tmp_path / "a.zip")
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces/a.zip").touch()
    assert archives(config | {"archives": str(tmp_path)}, "faces")["a.zip"]["path"] == str(tmp_path / "faces/a.zip")
    assert archives(config | {"archives": str(tmp_path)}, "faces")["b.txt"]["path"] == "/there/b.txt"
    own = {"datasets": {"faces": {"archives": {"a.zip": {"url": "http://y/a.zip"}}}}, "archives": str(tmp_path)}
    assert archives(own, "faces")["a.zip"] == {"url": "http://y/a.zip", "checksum": "md5:1"}


def leaves(node: dict, path: str = ""):
    for name, key in node.get("properties", {}).items():
        yield name, key
        if name != "archives":  # the names in there are those of files
            yield from leaves(key, f"{path}.{name}")


def test_every_key_has_a_description_and_is_documented():
    text = (ROOT / "config/README.md").read_text()
    documented = set(re.findall(r"`(\w+)`", text))
    components = {name for kind in registry.KINDS for name in registry.names(kind)}
    for name, key in leaves(schema()):
        assert name in documented, f"config/README.md does not explain `{name}`"
        assert name in components | {"grid", "encoders", *SECTIONS} or key.get("type") == "array" or key["description"]
    for encoder in registry.names("encoders"):
        for name, option in encoder_options(encoder).items():
            assert str(option["default"]) in text, f"config/README.md does not give the default of {encoder}.{name}"


@pytest.mark.parametrize("grid", [{"path": ["a.h5", "b.h5"]}, [{}, {"path": ["a.h5", "b.h5"]}]])
def test_files_are_no_axis_of_a_grid(grid):
    config = broken("encoders", {"precomputed": {"grid": grid}})
    with pytest.raises(UserError, match=r"encoders\.precomputed\.grid: 'path' names a file"):
        check(config)


def test_text_on_a_grid_has_to_fit_the_name_of_a_folder():
    check(broken("encoders", {"pretrained": {"grid": {"layers": ["pooled", "blocks.2-bn2"]}}}))
    for text in ("blocks.2+bn2", "ImageNet-1k, with labels", "../other", ""):
        config = broken("encoders", {"pretrained": {"grid": {"trained_on": [text]}}})
        with pytest.raises(
            UserError, match=r"encoders\.pretrained\.grid\.trained_on: '.*' cannot be in the name of a folder"
        ):
            check(config)


@pytest.mark.parametrize(
    "grid, message",
    [
        ({"mu_x": ["a"]}, ".mu_x.0: 'a' is not of type 'number'"),
        ([{}, {"mu_x": ["a"]}], ".1.mu_x.0: 'a' is not of type 'number'"),
        ({"mu_x": 3}, ".mu_x: 3 is not of type 'array'"),
        ([{"mu_x": 3}], ".0.mu_x: 3 is not of type 'array'"),
        ({"kl": ["exct"]}, ".kl.0: unknown value 'exct'; did you mean 'exact'? known: exact, reference"),
        ([{"kl": ["exct"]}], ".0.kl.0: unknown value 'exct'; did you mean 'exact'? known: exact, reference"),
        ({"mu_x": [1, 1.0]}, ".mu_x: [1, 1.0] has non-unique elements"),
        ([{"mu_x": [1, 1.0]}], ".0.mu_x: [1, 1.0] has non-unique elements"),
        ([{}, None], ".1: None is not of type 'object'"),
        ("mu_x", ": 'mu_x' is not of type 'object', 'array'"),
        ([], ": [] should be non-empty"),
    ],
)
def test_errors_of_one_grid_and_of_a_list_word_by_word(grid, message):
    with pytest.raises(UserError) as error:
        check(broken("encoders.age.grid", grid))
    assert str(error.value) == f"config: encoders.age.grid{message}"


def test_grids_may_share_trials():
    check(broken("encoders.age.grid", [{}, {"kl": ["exact"]}, {"kl": ["exact", "reference"]}]))


def test_a_python_that_starts_no_jobs():
    check_interpreter("/home/jürgen/code-2.0/visrec_1/.venv/bin/python3.11")
    for path in (
        "/tmp/my code/.venv/bin/python",
        "/tmp/it's/python",
        "/tmp/a(1)/python",
        "/tmp/$x/python",
        "/a\tb/python",
    ):
        with pytest.raises(UserError, match="Snakemake starts no jobs by a Python whose path has '") as error:
            check_interpreter(path)
        assert "\n" not in str(error.value)
