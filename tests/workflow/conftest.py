"""The workflow, run once per session with a tiny config."""

import compileall
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from tiny import TINY, Checkout, checkout


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], None]], Path]:
    """A function that has a folder of this name made for all workers, by the first of them that asks for it."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        base = base.parent

    def made(name, make):
        folder = base / name
        with FileLock(base / f"{name}.lock"):
            if not folder.exists():
                try:
                    make(folder)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
        return folder

    return made


@pytest.fixture(scope="session")
def unused(once) -> Path:
    """A checkout in which nothing was run: its library is compiled, and the fingerprints of its code are known."""

    def make(folder):
        folder.mkdir()
        made = checkout(folder, TINY)
        compileall.compile_dir(folder / "workflow/scripts", quiet=1)
        made.plan()
        shutil.rmtree(folder / ".snakemake")
        (folder / "tiny.yaml").unlink()

    return once("unused", make)


@pytest.fixture(scope="session")
def finished(once, unused) -> Checkout:
    """The whole workflow, run once for all workers, who only look at it; tests that change it take `copy`."""

    def make(folder):
        shutil.copytree(unused, folder)
        Checkout(folder, TINY).make()

    return Checkout(once("finished", make), yaml.safe_load(yaml.safe_dump(TINY)))


@pytest.fixture
def copy(finished, tmp_path) -> Checkout:
    """A copy of the finished run, dates and Snakemake's records included, that a test may spoil."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    return Checkout(tmp_path / "copy", yaml.safe_load(yaml.safe_dump(TINY)))


@pytest.fixture
def fresh(unused, tmp_path) -> Checkout:
    """A checkout in which nothing was run."""
    shutil.copytree(unused, tmp_path / "fresh")
    return Checkout(tmp_path / "fresh", yaml.safe_load(yaml.safe_dump(TINY)))
