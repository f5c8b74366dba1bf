"""The encoders of docs/adding-an-encoder.md are run as they stand there, through the whole contract."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/adding-an-encoder.md").read_text()
EXAMPLE = re.compile(r"`workflow/scripts/visrec/encoders/(\w+)\.py`:\n\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the repository with the page's encoders in it."""
    folder = tmp_path_factory.mktemp("house")
    for part in ("workflow", "tests", "config"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, code in EXAMPLE.findall(PAGE):
        (folder / f"workflow/scripts/visrec/encoders/{name}.py").write_text(code)
    return folder


def test_the_page_has_an_encoder_of_each_kind():
    codes = dict(EXAMPLE.findall(PAGE))
    assert codes.keys() == {"autoencoder", "kmeans"}
    assert len(codes["autoencoder"].splitlines()) <= 65


def test_the_examples_keep_the_contract(house):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["tests/contract/test_components.py", "-k", "autoencoder or kmeans"]
    path = f"{house}/workflow/scripts"
    done = subprocess.run(
        command,
        cwd=house,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert int(passed[1]) >= 12  # both were found


@pytest.mark.parametrize("name", ["autoencoder", "kmeans"])
def test_the_examples_are_formatted_as_the_house_is(house, name):
    file = house / f"workflow/scripts/visrec/encoders/{name}.py"
    for command in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(file)], cwd=house, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
