import os
import time

import pytest

from visrec.errors import UserError
from visrec.jobs import clock


def dated(path, ahead):
    path.touch()
    os.utime(path, (time.time() + ahead,) * 2)
    return path


def test_inputs_from_the_past_are_fine_and_nothing_is_left(tmp_path):
    clock.check([dated(tmp_path / "a", -5), tmp_path / "absent"], tmp_path / "out")
    clock.check([], tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("ahead", [60, 7200, 1e8])
def test_an_input_from_the_future_is_one_line(tmp_path, ahead):
    inputs = [dated(tmp_path / "a", -5), dated(tmp_path / "b", ahead)]
    with pytest.raises(UserError, match=r"/b: is from the future, dated .* would be deleted .*`touch`") as caught:
        clock.check(inputs, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_link_counts_with_its_own_date(tmp_path):
    (tmp_path / "link").symlink_to(dated(tmp_path / "a", -5))
    os.utime(tmp_path / "link", (time.time() + 100,) * 2, follow_symlinks=False)
    with pytest.raises(UserError, match="link: is from the future"):
        clock.check([tmp_path / "link"], tmp_path)


def test_a_small_difference_is_waited_for(tmp_path):
    late = dated(tmp_path / "a", 0.3)
    clock.check([late], tmp_path)
    assert time.time() >= late.stat().st_mtime


def test_what_counts_is_the_clock_of_the_file_system(tmp_path, monkeypatch):
    """A file server whose clock is an hour behind: inputs from here are from its future."""
    monkeypatch.setattr(clock, "_now", lambda folder: time.time() - 3600)
    with pytest.raises(UserError, match="a: is from the future"):
        clock.check([dated(tmp_path / "a", -5)], tmp_path)
