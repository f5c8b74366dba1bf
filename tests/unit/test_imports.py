"""What each rule's script imports: a second or more per job is spent on what is not needed."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from visrec.experiment import registry

SCRIPTS = registry.PACKAGE.parent
HEAVY = {
    "torch",
    "torchvision",
    "pandas",
    "sklearn",
    "scipy",
    "scipy.stats",
    "seaborn",
    "matplotlib",
    "faiss",
    "requests",
    "timm",
}
WITHOUT_DRAWING = {"torchvision", "sklearn", "scipy.stats", "seaborn", "matplotlib", "faiss", "requests"}

# Script, the component that it loads by name, and what it must not have imported when its function is called.
CASES = [
    ("download", "", HEAVY - {"requests"}),
    ("prepare", "datasets.svhn", HEAVY - {"scipy"}),
    ("prepare", "datasets.cifar10", HEAVY - {"scipy"}),
    ("prepare", "datasets.celeba", HEAVY - {"scipy"}),
    ("prepare", "datasets.tiny_imagenet", HEAVY - {"scipy"}),
    ("prepare", "datasets.image_folder", HEAVY - {"scipy"}),
    ("fit", "", HEAVY - {"pandas"}),
    ("embed", "encoders.pixels", HEAVY - {"pandas"}),
    ("embed", "encoders.precomputed", HEAVY - {"pandas"}),
    ("embed", "encoders.pca", HEAVY - {"pandas"}),
    ("embed", "encoders.pretrained", HEAVY - {"pandas", "torch"}),
    ("embed", "encoders.age", HEAVY - {"pandas", "torch"}),
    ("train", "encoders.age", HEAVY - {"pandas", "torch"}),
    ("draw", "encoders.age", HEAVY - {"pandas", "torch", "torchvision"}),
    ("evaluate", "evaluators.knn", WITHOUT_DRAWING),
    ("evaluate", "evaluators.svm", WITHOUT_DRAWING),
    ("evaluate", "evaluators.logistic", WITHOUT_DRAWING),
    ("evaluate", "evaluators.few_labels", WITHOUT_DRAWING - {"sklearn", "scipy.stats"}),
    ("neighbours", "", WITHOUT_DRAWING),
    ("projection", "", WITHOUT_DRAWING - {"sklearn", "scipy.stats"}),
    ("atlas", "encoders.age", WITHOUT_DRAWING),
    ("selection", "encoders.age", WITHOUT_DRAWING),
    ("tables", "", {"torch", "torchvision", "sklearn", "seaborn", "matplotlib", "faiss", "requests"}),
    ("figures", "", {"torch", "torchvision", "sklearn", "faiss", "requests"}),
    ("report", "", {"torch", "torchvision", "sklearn", "seaborn", "matplotlib", "faiss", "requests"}),
    ("recommend", "", WITHOUT_DRAWING),
]


def test_every_script_is_looked_at():
    # `partial` does what tables, figures and report do.
    assert {script for script, *_ in CASES} == {path.stem for path in SCRIPTS.glob("*.py")} - {"partial"}


def imported(body: list[ast.stmt]) -> set[str]:
    """What statements import when they are run; functions are not, nor what is for type checkers alone."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found |= imported(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= imported([each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)])
    return found


@functools.cache
def imported_by(path: Path) -> frozenset[str]:
    """The same of a file, with the packages that each module is in."""
    found = imported(ast.parse(path.read_text()).body)
    return frozenset(".".join(name.split(".")[:end]) for name in found for end in range(1, name.count(".") + 2))


def loaded(script: str, component: str) -> set[str]:
    """All that is imported by the time a script calls its function, as far as our own files say so."""
    new = set(imported_by(SCRIPTS / f"{script}.py")) | ({f"visrec.{component}"} if component else set())
    found: set[str] = set()
    while new:
        found |= new
        files = [path for name in new if name.startswith("visrec.") and (path := file_of(name))]
        new = {name for path in files for name in imported_by(path)} - found
    return found


def file_of(module: str) -> Path | None:
    base = SCRIPTS.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.exists()), None)


@pytest.mark.parametrize("script, component, unneeded", CASES, ids=[f"{s}-{c}".rstrip("-") for s, c, _ in CASES])
def test_a_script_imports_what_it_needs(script, component, unneeded):
    assert not unneeded & loaded(script, component)


@pytest.mark.parametrize("script, component", [("embed", "encoders.pca"), ("prepare", "datasets.svhn")])
def test_what_python_loads_is_no_more(script, component):
    """Of two scripts that need no torch, which would take seconds: what our files do not say, Python does."""
    lines = [
        *(f"import {name}" for name in sorted(loaded(script, component)) if file_of(name)),
        "import sys",
        "print(*sys.modules)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    (unneeded,) = [each for *case, each in CASES if case == [script, component]]
    assert f"visrec.{component}" in done.stdout.split()
    assert not unneeded & {*done.stdout.split()}
