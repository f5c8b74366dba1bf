import sys

import pytest

from visrec.errors import UserError
from visrec.jobs import progress


def test_where_there_is_no_terminal_the_bar_is_lines_now_and_then(capsys):
    assert list(progress.bar(range(1000), desc="embedding", unit="img")) == list(range(1000))
    said = capsys.readouterr().err
    assert "\r" not in said
    assert [line[:16] for line in said.split("\n") if line] == ["embedding:   0%|", "embedding: 100%|"]


def test_on_a_terminal_it_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(progress.bar(range(3), desc="embedding"))
    assert "\r" in capsys.readouterr().err


def test_tensorboard_shows_the_history(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, values in ((0, {1: 0.25, 2: 0.5}), (1, {2: 0.75})):  # killed after 2, and going on from 1
        board = progress.board(tmp_path, start)
        for iteration, value in values.items():
            board.show({"iteration": iteration, "kl_real": value})
        board.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload().Scalars("kl_real")
    assert [(event.step, event.value) for event in events] == [(1, 0.25), (2, 0.75)]


def test_without_a_folder_nothing_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # to import it would be an error
    board = progress.board(None, 0)
    board.show({"iteration": 1, "loss": 0.5})
    board.close()
    assert list(tmp_path.iterdir()) == []  # TensorBoard's own default is the folder runs/ here
    with pytest.raises(UserError):  # with a folder it would have been imported
        progress.board(tmp_path / "logs", 0)


def test_tensorboard_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        progress.board(tmp_path, 0)
