"""The shape of the house: imports point one way, and what is parsed with the Snakefile is light."""

import ast
import sys
from pathlib import Path

import pytest

from visrec import registry

PACKAGE = registry.PACKAGE
SCRIPTS = PACKAGE.parent
RULES = SCRIPTS.parent / "rules"

LAYERS = [
    {"attempts", "errors", "fingerprint"},
    {"registry", "job", "progress", "claims"},
    {"config"},
    {"trials", "choice"},
    {"status"},
    {"store", "metrics", "intervals", "protocols", "archives", "splits"},
    {"networks", "losses", "neighbours", "health", "transforms", "linear_probe", "frechet"},
    {"layers", "pictures", "download", "duplicates", "checkpoint", "diagnosis", "symptoms", "projection", "index"},
    {"stack", "game"},
    {"training", "atlas", "selection"},
    {"report", "evaluators", "encoders", "datasets"},
    {"gallery"},
    {"recommender"},
    {"recommend"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = {"torch", "torchvision", "pandas", "sklearn", "seaborn", "matplotlib", "scipy"}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """First-level parts of visrec that a file imports."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "visrec":
            inside = node.module.split(".")[1:]
            parts |= {inside[0]} if inside else {alias.name for alias in node.names}
    return parts


def sources() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    here = part(path)
    assert here in LEVEL, f"{here} has no place in LAYERS"
    for other in imported(path) - {here}:
        assert LEVEL[other] < LEVEL[here], f"{here} imports {other}, which is not below it"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_knows_nothing_of_snakemake(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.split(".")[0] == "snakemake" for name in names)


@pytest.mark.parametrize("name", ["config", "trials", "choice", "registry", "errors", "fingerprint"])
def test_what_the_snakefile_imports_is_light(name):
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not HEAVY & {each.split(".")[0] for each in names}


def rule_names() -> list[str]:
    lines = [line for path in RULES.glob("*.smk") for line in path.read_text().splitlines()]
    return [line.removeprefix("rule ").rstrip(":") for line in lines if line.startswith("rule ")]


@pytest.mark.parametrize("rule", rule_names())
def test_rule_script_log_and_benchmark_share_a_name(rule):
    text = next(path.read_text() for path in RULES.glob("*.smk") if f"rule {rule}:" in path.read_text())
    body = text.split(f"rule {rule}:")[1].split("\nrule ")[0]
    assert f'"../scripts/{rule}.py"' in body
    assert f'log_of("{rule}"' in body
    if "output:" in body:  # else nothing is out of date, and a benchmark would be an output
        assert f'benchmark_of("{rule}"' in body
        assert f'code("{rule}"' in body
    for directive in ("threads:", "mem_mb=", "runtime="):
        assert directive in body


def test_no_script_hides_a_module_of_python():
    """The folder of the scripts is on the path, before Python's own modules: `selectors.py` there broke subprocess."""
    assert not {path.stem for path in SCRIPTS.iterdir()} & sys.stdlib_module_names


def test_scripts_are_those_of_the_rules_and_thin():
    scripts = {path.stem: path for path in SCRIPTS.glob("*.py")}
    assert set(scripts) == set(rule_names())
    for name, path in scripts.items():
        assert len(path.read_text().splitlines()) < 40, f"{name}.py is no longer thin"
        tree = ast.parse(path.read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.For)], name
