import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from visrec.experiment import registry
from visrec.jobs import fingerprint as module

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "workflow/scripts"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package and a script, and a function that gives the script's fingerprint after an edit."""
    for folder in ("encoders", "jobs", "other"):
        (tmp_path / "visrec" / folder).mkdir(parents=True)
    files = {
        "visrec/__init__.py": "",
        "visrec/jobs/job.py": "def job():\n    return 1\n",
        "visrec/low.py": (
            "LIMIT = 3\nUNUSED = 4\n\ndef used(x):\n    return x + LIMIT\n\ndef unused(x):\n    return UNUSED\n"
        ),
        "visrec/high.py": (
            '"""Doc."""\nimport math\nfrom visrec import low\nfrom visrec.low import unused\n\n'
            'def entry(x):\n    """Doc."""\n    log.info("x")\n    return low.used(math.floor(x))\n\n'
            "def other(x):\n    return unused(x)\n"
        ),
        "visrec/encoders/__init__.py": "",
        "visrec/encoders/one.py": "OPTIONS = {}\n\ndef fit(x):\n    from visrec.low import used\n    return used(x)\n",
        "script.py": "from visrec.jobs.job import job\nwith job():\n    from visrec.high import entry\n    entry(1)\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "visrec")

    def after(name=None, old="", new="", *roots):
        module.forget()
        if name:
            assert old in files[name]
            (tmp_path / name).write_text(files[name].replace(old, new))
        value = module.fingerprint(tmp_path / "script.py", *roots)
        if name:
            (tmp_path / name).write_text(files[name])
            module.forget()
        return value

    yield after
    module.forget()


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("script.py", "entry(1)", "entry(2)"),
        ("visrec/high.py", "math.floor(x)", "math.ceil(x)"),
        ("visrec/high.py", "import math", "import cmath as math"),
        ("visrec/low.py", "x + LIMIT", "x - LIMIT"),
        ("visrec/low.py", "LIMIT = 3", "LIMIT = 4"),
        ("visrec/low.py", "LIMIT = 3", 'LIMIT = "3"'),
        ("visrec/low.py", "def used(x):", "@cache\ndef used(x):"),
        ("visrec/low.py", "LIMIT = 3", "LIMIT = 3\nif True:\n    LIMIT = 5"),
    ],
)
def test_what_is_reached_changes_it(package, name, old, new):
    assert package(name, old, new) != package()


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("visrec/low.py", "UNUSED = 4", "UNUSED = 5"),
        ("visrec/low.py", "return UNUSED", "return 1"),
        ("visrec/high.py", "return unused(x)", "return 2"),
        ("visrec/jobs/job.py", "return 1", "return 2"),
        ("visrec/encoders/one.py", "used(x)", "0"),
        ("visrec/high.py", '    log.info("x")\n', '    log.debug("y")\n'),
        ("visrec/high.py", '"""Doc."""\n    log', '"""Other."""\n    log'),
        ("visrec/low.py", "return x + LIMIT", "return (\n        x  # why\n        + LIMIT\n    )"),
    ],
)
def test_what_cannot_change_the_result_does_not(package, name, old, new):
    assert package(name, old, new) == package()


def test_a_definition_that_moves_to_another_file_does_not(package, tmp_path):
    before = package()
    (tmp_path / "visrec/other/__init__.py").write_text("")
    shutil.move(tmp_path / "visrec/low.py", tmp_path / "visrec/other/place.py")
    high = (tmp_path / "visrec/high.py").read_text()
    moved = high.replace("from visrec import low", "from visrec.other import place as low")
    (tmp_path / "visrec/high.py").write_text(moved.replace("visrec.low", "visrec.other.place"))
    module.forget()
    assert module.fingerprint(tmp_path / "script.py") == before


def test_a_name_that_means_another_definition_changes_it(package, tmp_path):
    """Both definitions are reached before and after, so that only what the name stands for differs."""
    (tmp_path / "visrec/near.py").write_text("def used(x):\n    return x\n")
    both = "from visrec import low, near\n\n\ndef entry(x):\n    return low.used(x), near.used(x)\n"
    (tmp_path / "visrec/high.py").write_text(both)
    module.forget()
    before = module.fingerprint(tmp_path / "script.py")
    swapped = both.replace("import low, near", "import low as near, near as low")
    (tmp_path / "visrec/high.py").write_text(swapped)
    module.forget()
    assert module.fingerprint(tmp_path / "script.py") != before


def test_a_root_is_followed_through_its_local_imports(package):
    root = "encoders.one:fit"
    assert package("visrec/low.py", "x + LIMIT", "x - LIMIT", root) != package(None, "", "", root)
    assert package("visrec/encoders/one.py", "OPTIONS = {}", "OPTIONS = {1: 2}", root) == package(None, "", "", root)
    assert package("visrec/encoders/one.py", "return used(x)", "return 0", root) != package(None, "", "", root)


def test_files_count_by_content(tmp_path):
    script, template = SCRIPTS / "report.py", tmp_path / "page.html"
    template.write_text("a")
    first = module.fingerprint(script, files=[template])
    template.touch()
    assert module.fingerprint(script, files=[template]) == first
    template.write_text("b")
    assert module.fingerprint(script, files=[template]) != first


@pytest.fixture
def walks(package, monkeypatch):
    """How often code was followed; it is counted while fingerprints may be kept, whatever Python was told."""
    monkeypatch.setattr(module.sys, "dont_write_bytecode", False)
    count = []
    follow = module._Walk.follow
    monkeypatch.setattr(module._Walk, "follow", lambda *given: count.append(1) or follow(*given))
    return count


def test_it_is_worked_out_once_for_all_processes(package, walks, tmp_path):
    first, root = package(), package(None, "", "", "encoders.one:fit")
    assert len(walks) == 2
    module.forget()  # as if a process began
    assert (package(), package(None, "", "", "encoders.one:fit")) == (first, root)
    assert len(walks) == 2
    (tmp_path / "script.py").write_text("from visrec.low import unused\nunused(1)\n")
    assert package() != first
    assert len(walks) == 3


def test_no_kept_one_outlives_a_change_of_any_file(package, walks):
    first = package()
    assert package("visrec/low.py", "x + LIMIT", "x - LIMIT") != first
    assert package("visrec/low.py", "UNUSED = 4", "UNUSED = 5") == first
    assert len(walks) == 3


@pytest.mark.parametrize("spoiled", ["", "{", "[]", '{"files": 1}', "{}"])
def test_a_spoiled_file_of_kept_ones_is_passed_over(package, walks, spoiled):
    first = package()
    module._file_of_kept().write_text(spoiled)
    module.forget()
    assert package() == first
    assert len(walks) == 2


def test_where_nothing_can_be_kept_it_is_worked_out_again(package, walks, tmp_path):
    first = package()
    shutil.rmtree(tmp_path / "visrec/__pycache__")
    (tmp_path / "visrec/__pycache__").write_text("in the way")
    module.forget()
    assert package() == first
    assert len(walks) == 2


def reached(script: str, *roots: str) -> set[str]:
    walk = module._Walk()
    walk.follow((SCRIPTS / f"{script}.py").read_bytes(), roots)
    return {name for name, _ in walk.seen}


def test_the_real_stages_reach_what_they_use():
    train = reached("train", "encoders.age:Training")
    assert {"training.loop", "encoders._age_losses", "networks.bodies", "data.files", "data.images"} <= train
    assert not {"evaluators.knn", "report.html", "encoders.pca", "scoring.metrics", "networks.resnet"} & train
    embed = reached("embed", "encoders.age:Training", "training.models:extractor")
    assert {"networks.stack", "networks.bodies"} <= embed
    assert not {"training.loop", "training.capture", "training.checkpoint"} & embed
    assert not {"networks.stack", "training.method"} & reached("embed", "encoders.pixels:extractor")
    knn = reached("evaluate", "evaluators.knn:evaluate", "evaluators.knn:lists")
    assert {f"scoring.{each}" for each in "neighbours neighbours.candidates metrics votes ranking".split()} <= knn
    assert {f"scoring.{each}" for each in "chance intervals health protocols transforms".split()} <= knn
    assert not {"scoring.linear_probe", "evaluators.svm", "networks.bodies", "training.loop"} & knn
    svm = reached("evaluate", "evaluators.svm:evaluate", "evaluators.svm:lists")
    assert {"scoring.linear_probe", "scoring.linear_probe.descent", "scoring.moments"} <= svm
    assert not {"scoring.neighbours", "evaluators.logistic", "scoring.transforms", "scoring.metrics"} & svm
    atlas = reached("atlas", "encoders.age:Training")
    assert {"scoring.atlas", "networks.stack", "networks.bodies", "scoring.linear_probe"} <= atlas
    assert not {"training.loop", "evaluators.knn"} & atlas


def test_pooling_is_no_part_of_training():
    lines = module._Walk().follow((SCRIPTS / "train.py").read_bytes(), ("encoders.age:Training",))
    assert not any("POOLING" in line or "reestimate_batchnorm" in line for line in lines)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_it_is_the_same_on_every_python(version):
    python = shutil.which(f"python{version}")
    program = "from visrec.jobs.fingerprint import fingerprint; import sys; print(fingerprint(*sys.argv[1:]))"
    arguments = [str(SCRIPTS / "train.py"), "encoders.age:Training"]
    done = subprocess.run(
        [python or "false", "-c", program, *arguments], capture_output=True, text=True, env={"PYTHONPATH": str(SCRIPTS)}
    )
    if done.returncode:
        pytest.skip(f"no working python{version} here")
    assert done.stdout.strip() == module.fingerprint(*arguments)


def test_imports_are_such_as_can_be_followed():
    for path in registry.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                assert not any(alias.name == "*" for alias in node.names), f"{path}: star import"
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("visrec") for alias in node.names), f"{path}: import visrec.x"
