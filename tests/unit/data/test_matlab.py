import fuzz
import numpy as np
import pytest
import scipy.io

from visrec.data import matlab
from visrec.errors import UserError

ARRAYS = {
    "X": np.random.default_rng(0).integers(0, 256, (4, 5, 3, 7), dtype=np.uint8),
    "labels": np.arange(7.0)[:, None],
    "short": np.array([[-300, 300]], np.int16),
    "a_name_longer_than_eight_bytes": np.array([[0.5, np.nan]]),
}


def written(path, packed):
    scipy.io.savemat(path, ARRAYS | {"words": "text", "complex": np.array([[1j]])}, do_compression=packed)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_arrays_are_those_that_scipy_wrote_and_reads(tmp_path, packed):
    path = written(tmp_path / "a.mat", packed)
    found, theirs = matlab.arrays(path), scipy.io.loadmat(path)
    assert {name: (each.shape, each.kind) for name, each in found.items() if name in ARRAYS} == {
        name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path) if name in ARRAYS
    }
    for name in ARRAYS:
        np.testing.assert_array_equal(matlab.values(path, found[name]), theirs[name])
    for name in ("words", "complex"):
        with pytest.raises(UserError, match="an array holds no numbers"):
            matlab.values(path, found[name])


@fuzz.tries(400, 1200)
@pytest.mark.parametrize("packed", [True, False])
def test_every_damage_is_one_line_or_another_value(tmp_path, packed, tries):
    """scipy.io's reader ends the process on some of these, without a word."""
    whole = written(tmp_path / "a.mat", packed).read_bytes()
    random, refused = np.random.default_rng(0), 0
    for _ in range(tries):
        content = bytearray(whole)
        for at in random.integers(120, len(content), random.integers(1, 4)):
            content[at] = random.integers(256)
        path = tmp_path / "b.mat"
        path.write_bytes(content[: random.integers(100, len(content))] if random.random() < 0.3 else content)
        with fuzz.cheap():
            try:
                for array in matlab.arrays(path).values():
                    matlab.values(path, array)
            except UserError as error:
                refused += 1
                assert "\n" not in str(error)
                assert "cannot be read as a MATLAB file" in str(error)
    assert refused > tries // 4


def test_a_packed_array_that_goes_on_after_its_shape_is_refused_before_it_is_unpacked(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"y": np.zeros((3_000_000, 1), np.uint8)}, do_compression=True)
    (array,) = matlab.arrays(tmp_path / "a.mat").values()
    with pytest.raises(UserError, match="a packed array is longer or shorter than its shape"):
        matlab.values("a.mat", matlab.Array("uint8", (3, 1), True, array.body))
