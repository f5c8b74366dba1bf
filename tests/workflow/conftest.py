"""The workflow, run once per session with a tiny config."""

import shutil

import pytest
import yaml
from filelock import FileLock
from tiny import TINY, Checkout, checkout


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Checkout:
    """The whole workflow, run once for all workers, who only look at it; tests that change it take `copy`."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        base = base.parent
    folder = base / "finished"
    with FileLock(base / "finished.lock"):
        if (folder / "results").exists():
            return Checkout(folder, yaml.safe_load(yaml.safe_dump(TINY)))
        folder.mkdir()
        made = checkout(folder, TINY)
        try:
            made.make()
        except BaseException:
            shutil.rmtree(folder)
            raise
        return made


@pytest.fixture
def copy(finished, tmp_path) -> Checkout:
    """A copy of the finished run, dates and Snakemake's records included, that a test may spoil."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    return Checkout(tmp_path / "copy", yaml.safe_load(yaml.safe_dump(TINY)))


@pytest.fixture
def fresh(tmp_path) -> Checkout:
    """A checkout in which nothing was run."""
    (tmp_path / "fresh").mkdir()
    return checkout(tmp_path / "fresh", TINY)
