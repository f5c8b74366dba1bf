"""The table of `make bench` is made of figures, and every benchmark offers some."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from script_fixture import load_script

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in ("all", "table"))


@pytest.fixture(scope="module")
def table():
    return load_script(BENCHMARKS / "table.py")


def test_rows_have_value_goal_peer_and_ratio(table):
    figures = {
        "data": [table.Figure("decode", 3600.4, "img/s", "1 x", "plain loop", 3000.0, more_is_better=True)],
        "probe": [table.Figure("SVM", 2.0, "s", "", "LinearSVC", 50.0), table.Figure("objective", 5.25e-8, "", "1e-6")],
    }
    assert table.table(figures).splitlines() == [
        "| | figure | value | goal | peer | times better |",
        "|---|---|---|---|---|---|",
        "| data | decode | 3,600 img/s | 1 x | plain loop: 3,000 img/s | 1.20 |",
        "| probe | SVM | 2 s |  | LinearSVC: 50 s | 25.00 |",
        "| probe | objective | 5.25e-08 | 1e-6 |  |  |",
    ]


def test_the_machine_is_named_in_one_line(table):
    assert "torch " in table.machine()
    assert "\n" not in table.machine()


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_offers_figures(name):
    (figures,) = [
        node
        for node in ast.parse((BENCHMARKS / f"{name}.py").read_text()).body
        if getattr(node, "name", "") == "figures"
    ]
    assert figures.args.args[0].arg == "threads"
    assert len(figures.args.args) - len(figures.args.defaults) == 1


def test_all_of_them_are_run():
    (listed,) = [
        node.value
        for node in ast.parse((BENCHMARKS / "all.py").read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "BENCHMARKS"
    ]
    assert sorted(ast.literal_eval(listed)) == NAMES


@pytest.mark.slow
def test_the_short_version_runs_to_its_table():
    command = [sys.executable, BENCHMARKS / "all.py", "--only", "training", "scale", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[:2] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {name for name, _ in rows} >= {"| training", "| scale"}
