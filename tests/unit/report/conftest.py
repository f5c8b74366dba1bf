"""The standard results with every figure drawn, which takes longest of all in these tests: once for all workers."""

import pytest
import report_fixture as fixture
from figures_fixture import draw
from filelock import FileLock


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, worker_id):
    """The results folder of `fixture.standard_trials` with tables and figures; tests that change it take a copy."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        base = base.parent
    done = base / "drawn.done"
    with FileLock(base / "drawn.lock"):
        if not done.exists():
            draw(base / "drawn", fixture.standard_trials(), fixture.STANDARD)
            done.touch()
    return base / "drawn/results/demo"
