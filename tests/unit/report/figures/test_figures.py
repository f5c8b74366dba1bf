"""The files of the figures; what each shows is tested beside it."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib.pyplot as plt
import pytest
import report_fixture as fixture
from figures_fixture import draw, read

from visrec.report import FIGURES, style
from visrec.report.figures import write
from visrec.report.figures.drawing import described, wrapped


@pytest.fixture(scope="module")
def standard(drawn):
    return read(drawn / "figures")


def test_every_figure_is_there_is_svg_and_small(standard):
    assert sorted(standard) == sorted(FIGURES)
    for text in standard.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert len(text) < 200_000


def test_light_and_dark_are_the_same_picture_on_another_ground(standard):
    for name in FIGURES:
        theme = "dark" if "-dark" in name else "light"
        other = "light" if theme == "dark" else "dark"
        assert style.GROUND[theme] in standard[name]
        assert style.GROUND[other] not in standard[name]


def test_each_figure_is_of_the_results_it_is_named_for(standard):
    assert "collapsed" in standard["heatmap.svg"]
    assert "age: lambda_z 500, mu_x 10 (chosen)" in standard["curves.svg"]
    assert "lambda_z 1000, mu_x 50" in standard["curves.svg"]
    for words in ("hidden2", "single layers, average", ">age<", ">random<"):
        assert words in standard["atlas.svg"]
    assert "conv3 (20)" in standard["layers.svg"]
    assert "66.7" in standard["layers.svg"]


def test_figures_differ_with_the_data_and_repeat_without(standard, drawn, tmp_path, monkeypatch):
    plain = [name for name in FIGURES if "-" not in name]  # drawing is slow
    monkeypatch.setattr(write, "FIGURES", plain)
    write.figures(drawn / "tables", drawn, fixture.standard_trials(), tmp_path / "again")
    assert read(tmp_path / "again") == {name: standard[name] for name in plain}
    monkeypatch.setattr(write, "FIGURES", ["heatmap.svg", "leaderboard.svg", "layers.svg"])
    # Neither changes which trials are chosen, so the layers stay.
    few = (0.5, 0.4, 0.6, 0.7)
    values = {("age", fixture.age(1000, 10).name): few, ("pixels", "seed~0"): few}
    other = draw(tmp_path / "other", fixture.standard_trials(), fixture.STANDARD | values)
    assert standard["heatmap.svg"] != other["heatmap.svg"]
    assert standard["leaderboard.svg"] != other["leaderboard.svg"]
    assert standard["layers.svg"] == other["layers.svg"]


def test_without_training_figures_say_so(tmp_path):
    drawn = draw(tmp_path, [fixture.trial("pixels", {})], fixture.STANDARD)
    assert sorted(drawn) == sorted(FIGURES)
    assert "No network was trained here" in drawn["curves.svg"]
    assert "No encoder has a grid" in drawn["heatmap.svg"]
    assert "No encoder stacks several layers" in drawn["layers.svg"]
    assert "No encoder has an atlas" in drawn["atlas.svg"]
    assert "No encoder has an atlas" in drawn["atlas-narrow-dark.svg"]


def test_all_collapsed_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "FIGURES", ["heatmap.svg", "leaderboard.svg", "curves.svg"])
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    drawn = draw(tmp_path, trials, {("age", one.name): None for one in trials})
    assert "collapsed" in drawn["heatmap.svg"]
    assert "chosen" not in drawn["heatmap.svg"] + drawn["curves.svg"]
    assert "could be scored" in drawn["leaderboard.svg"]


def test_one_thing_at_a_time_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "FIGURES", ["heatmap.svg", "curves.svg"])
    trials = fixture.one_at_a_time()
    values = {("age", one.name): (0.9 + number / 100,) * 4 for number, one in enumerate(trials)}
    values["age", trials[1].name] = None
    drawn = draw(tmp_path, trials, values)
    for words in ("nothing changed", "kl exact", "latent 64", "collapsed", "95.0", "chosen"):
        assert words in drawn["heatmap.svg"]
    assert "no result" not in drawn["heatmap.svg"]
    # A curve is named by the headline and by what its own grid sets, not by every axis of the others.
    assert "lambda_z 1000, mu_x 10, latent 64 (chosen)" in drawn["curves.svg"]
    assert "latent 128" not in drawn["curves.svg"]


def test_long_names_are_broken_after_commas_only():
    text = "age: lambda_z 1000, mu_x 10, iterations 6250, halve_every 1667 (chosen)"
    assert wrapped(text, 50) == text.replace(" halve", "\nhalve")
    assert wrapped(text[:40], 50) == text[:40]
    figure, axis = plt.subplots()
    axis.set_gid("panel")
    name = "weights /data/$x_{$/w.pt"
    axis.plot([0, 1], label=wrapped(name, 50), gid="curve")
    axis.legend()
    figure.canvas.draw()  # no formula, which would not be one
    assert described(figure)["curve"] == name
    plt.close(figure)
    assert wrapped("a" * 60, 50) == "a" * 60


def test_figures_need_no_torch():
    code = "import sys, visrec.report.figures.write; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
