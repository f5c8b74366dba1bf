import math

import fuzz
import numpy as np
import pytest
from safetensors.numpy import save_file

from visrec.data.files import write_json
from visrec.data.models import Model, packed, read_facts, read_weights
from visrec.errors import UserError


@pytest.mark.parametrize(
    ("ended", "says"), [("ok", "ok"), ("unstable", "ok"), ("collapsed", "collapsed"), ("diverged", "diverged")]
)
def test_the_features_of_an_unstable_training_are_scored(tmp_path, ended, says):
    write_json(tmp_path / "status.json", {"status": ended})
    assert Model(tmp_path / "model.safetensors", tmp_path / "status.json").status_of() == says


WEIGHTS = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7), "none": np.empty((0, 4))}


@fuzz.tries(60, 800)
def test_weights_come_back_and_any_damage_is_one_line(tmp_path, tries):
    path = tmp_path / "model.safetensors"
    content = packed(WEIGHTS)
    path.write_bytes(content)
    found = read_weights(path)
    assert found.keys() == WEIGHTS.keys()
    assert all(found[name].dtype == each.dtype and np.array_equal(found[name], each) for name, each in WEIGHTS.items())
    rng = np.random.default_rng(0)
    for number in range(tries):
        changed = bytearray(content)
        for place in rng.choice(len(content), (0, 1, 5)[number % 3], replace=False):
            changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed if number % 3 else content[: rng.integers(len(content))])
        try:
            with fuzz.cheap():
                found = read_weights(path)
        except UserError as error:
            assert "\n" not in str(error) and str(error).endswith("; delete it and run again")
        else:  # a blank of the header that is another blank now
            assert packed(found) == content


def test_weights_without_a_checksum_are_refused(tmp_path):
    save_file(WEIGHTS, tmp_path / "old.safetensors")
    with pytest.raises(UserError, match="has no checksum, so this version did not write it; delete it"):
        read_weights(tmp_path / "old.safetensors")
    with pytest.raises(UserError, match="cannot be read as a model"):
        read_weights(tmp_path / "absent.safetensors")


FACTS = {"status": "ok", "reason": "", "iterations": 5, "seconds": 1.5, "parameters": {"encoder": 3}, "commit": None}


@fuzz.tries(60, 800)
def test_facts_are_checked(tmp_path, tries):
    path = tmp_path / "status.json"
    write_json(path, FACTS)
    assert read_facts(path) == FACTS
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for number in range(tries):
        changed = bytearray(content)
        for place in rng.choice(len(content), 3, replace=False):
            changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed if number % 3 else content[: rng.integers(len(content) - 2)])
        try:
            read_facts(path)
        except UserError as error:
            assert "\n" not in str(error) and str(error).endswith("and run again")
            continue
        assert number % 3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"status": "fine"}, "'status' is 'fine'"),
        ({"status": ["ok"]}, r"'status' is \"\['ok'\]\""),
        ({"seconds": math.nan}, "'seconds' is 'nan'"),
        ({"iterations": True}, "'iterations' is 'True'"),
        ({"parameters": [3]}, "'parameters' is"),
        ({"host": 3}, "'host' is '3'"),
        ({"reconstruction_error": "low"}, "'reconstruction_error' is 'low'"),
    ],
)
def test_wrong_facts_are_named(tmp_path, change, message):
    write_json(tmp_path / "status.json", FACTS | change)
    with pytest.raises(UserError, match=message):
        read_facts(tmp_path / "status.json")


def test_facts_that_are_no_object(tmp_path):
    for content in ("[]", "[" * 100_000, "", "{", "\ud800".encode("utf-8", "surrogatepass")):
        (tmp_path / "status.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match=r"status\.json: (is not JSON|holds no names)"):
            read_facts(tmp_path / "status.json")
    write_json(tmp_path / "status.json", {"reason": ""})
    with pytest.raises(UserError, match="does not say how the training ended"):
        Model(tmp_path / "model.safetensors", tmp_path / "status.json").status_of()
