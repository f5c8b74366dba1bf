"""The shape of the house: imports point one way, and what is parsed with the Snakefile is light."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from visrec.experiment import registry

PACKAGE = registry.PACKAGE
SCRIPTS = PACKAGE.parent
RULES = SCRIPTS.parent / "rules"

# The wings of visrec, lowest first: a file imports from its own wing and from those before it. This is the one place
# where the order stands.
WINGS = [
    {"errors"},
    {"jobs"},
    {"data", "experiment"},
    {"datasets", "networks"},
    {"training"},
    {"scoring"},
    {"encoders", "evaluators", "report"},
    {"recommender"},
]
LEVEL = {name: level for level, names in enumerate(WINGS) for name in names}
LONGEST = 350  # lines of a file
MOST = 7  # parameters of a function
HEAVY = {"torch", "torchvision", "pandas", "sklearn", "seaborn", "matplotlib", "scipy"}


def wing(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Modules of visrec that a file imports, wherever in it, such as "data.images"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "visrec":
            inside = node.module.removeprefix("visrec").lstrip(".")
            for alias in node.names:
                name = f"{inside}.{alias.name}".lstrip(".")
                found.add(name if name in MODULES else inside)
    return found


def sources() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


MODULES = {module(path) for path in sources()}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    here = wing(path)
    assert here in LEVEL, f"{here} has no place in WINGS"
    for other in {name.split(".")[0] for name in imported(path)} - {here}:
        assert LEVEL[other] < LEVEL[here], f"{here} imports {other}, which is not below it"


def test_no_imports_go_in_a_circle():
    """Not even inside a wing. A package and the modules in it may know each other."""
    TopologicalSorter({module(path): imported(path) - {module(path)} for path in sources()}).prepare()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_parameter_lists_are_short(path):
    tree = ast.parse(path.read_text())
    excused = "long because" in (ast.get_docstring(tree) or "").lower()
    assert len(path.read_text().splitlines()) <= LONGEST or excused
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            named = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len([name for name in named if name != "self"]) <= MOST, node.name


def test_rules_do_not_read_the_command_line():
    for path in (*RULES.glob("*.smk"), RULES.parents[1] / "Snakefile"):
        assert "argv" not in path.read_text(), path


def test_tables_and_weights_are_read_in_one_place():
    """`pd.read_csv` guesses types, and h5py and safetensors read what is damaged: each has one reader that does not."""
    alone = {
        "read_csv(": set(),
        "h5py.File(": {"data/hdf5.py", "encoders/precomputed.py"},
        "load_file(": {"scoring/frechet.py"},
        "safe_open(": {"data/models.py", "training/checkpoint.py"},
    }
    for call, files in alone.items():
        found = {str(path.relative_to(PACKAGE)) for path in sources() if call in path.read_text()}
        assert found == files, call


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_knows_nothing_of_snakemake(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.split(".")[0] == "snakemake" for name in names)


LIGHT = ["errors.py", "report/__init__.py", "recommender/__init__.py", "recommender/choice.py"]
LIGHT += ["report/equals.py", "report/verdict.py"]  # which choice.py imports


LIGHT += [f"{each}/{path.name}" for each in ("jobs", "experiment") for path in (PACKAGE / each).glob("*.py")]


@pytest.mark.parametrize("name", LIGHT)
def test_what_the_snakefile_imports_is_light(name):
    for node in ast.parse((PACKAGE / name).read_text()).body:
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
        assert f'code("{rule}"' in body or rule == "download"  # an archive is checked by its checksum
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
        assert "with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):" in path.read_text()
