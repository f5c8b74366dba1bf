import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import report_evidence as evidence
import report_fixture as fixture
from test_html import write

from visrec.report import FIGURES, plots, style
from visrec.report.tables import setting


def draw(results, trials):
    plots.figures(results / "tables", results, trials, results / "figures")
    return {path.name: path.read_text() for path in (results / "figures").rglob("*.svg")}


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    trials = fixture.standard_trials()
    return draw(write(tmp_path_factory.mktemp("plots"), trials, fixture.STANDARD), trials)


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


def test_figures_tell_what_the_data_say(standard):
    for words in ("96.8", "96.2", "95.5", "collapsed", "chosen"):
        assert words in standard["heatmap.svg"]
    assert "(chosen)" in standard["curves.svg"]
    assert "lambda_z 1000, mu_x 50" in standard["curves.svg"]
    for words in ("hidden2", "single layers, average", "paper’s stack", "re-estimated", "chance", ">age<", ">random<"):
        assert words in standard["atlas.svg"]
    assert "66.7" in standard["layers.svg"]
    assert "conv3 (20)" in standard["layers.svg"]


def test_figures_differ_with_the_data_and_repeat_without(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "FIGURES", [name for name in FIGURES if "-" not in name])  # drawing is slow
    trials = [fixture.trial("pixels", {}), fixture.age(500, 10), fixture.age(1000, 10)]
    first = draw(write(tmp_path / "a", trials, fixture.STANDARD), trials)
    # Neither changes which trials are chosen, so the layers stay.
    values = {("age", trials[2]["trial"]): (0.5, 0.4, 0.6, 0.7), ("pixels", "seed~0"): (0.5, 0.4, 0.6, 0.7)}
    again = draw(write(tmp_path / "b", trials, fixture.STANDARD), trials)
    other = draw(write(tmp_path / "c", trials, fixture.STANDARD | values), trials)
    assert first == again
    assert first["heatmap.svg"] != other["heatmap.svg"]
    assert first["leaderboard.svg"] != other["leaderboard.svg"]
    assert first["layers.svg"] == other["layers.svg"]


def test_without_training_figures_say_so(tmp_path):
    trials = [fixture.trial("pixels", {})]
    drawn = draw(write(tmp_path, trials, fixture.STANDARD), trials)
    assert sorted(drawn) == sorted(FIGURES)
    assert "No network was trained here" in drawn["curves.svg"]
    assert "No encoder has a grid" in drawn["heatmap.svg"]
    assert "No encoder stacks several layers" in drawn["layers.svg"]
    assert "No encoder has an atlas" in drawn["atlas.svg"]
    assert "No encoder has an atlas" in drawn["atlas-narrow-dark.svg"]


def test_all_collapsed_is_drawn(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    drawn = draw(write(tmp_path, trials, {("age", one["trial"]): None for one in trials}), trials)
    assert "collapsed" in drawn["heatmap.svg"]
    assert "chosen" not in drawn["heatmap.svg"]
    assert "could be scored" in drawn["leaderboard.svg"]


def test_atlas_rows_are_grouped_by_pooling_and_each_variant_is_there_once():
    groups = plots.atlas_rows(evidence.atlas_rows([fixture.age(500, 10)]))
    assert [heading for heading, _ in groups] == [
        *(f"single layers, {pooling}" for pooling in ("flatten", "average", "max", "grid")),
        "stacks",
    ]
    assert groups[0][1] == ["hidden1 (flatten)", "hidden2 (flatten)", "hidden3 (flatten)", "output"]
    assert groups[3][1] == ["hidden1 (grid)", "hidden2 (grid)"]  # the third is 4 x 4 already
    assert len(groups[4][1]) == 4


def test_the_atlas_draws_each_row_where_it_is():
    rows = evidence.atlas_rows([fixture.age(500, 10)])
    with plots.plt.rc_context(style.settings("light")):
        figure = plots.atlas(rows, "light", columns=2, width=4)
    (axis,) = figure.axes
    dots = {tuple(np.round(dot, 6)) for line in axis.lines if line.get_marker() == "o" for dot in line.get_xydata()}
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels[:6] == ["single layers, flatten", "hidden1", "hidden2", "hidden3", "output", "single layers, average"]
    # hidden2 averaged, the second of the second group: 0.45 with running statistics, 0.43 with re-estimated
    assert (0.45, 7 - 0.16) in dots
    assert (0.43, 7 + 0.16) in dots
    assert labels[7] == "hidden2"
    assert len(dots) == len(rows) == 32
    plots.plt.close(figure)


def grid_rows(trials, values, chosen):
    rows = zip(trials, values, strict=True)
    return pd.DataFrame(
        [
            {**trial["options"], "encoder": "age", "trial": trial["trial"], "val_precision": value, "status": "ok"}
            | {"chosen": trial["trial"] == chosen}
            for trial, value in rows
        ]
    )


def test_cells_of_two_axes_are_sorted_by_number():
    trials = [fixture.age(lam, mu) for lam in (1000, 500, 2000) for mu in (50, 10)]
    values = [0.1, 0.2, 0.3, 0.4, 0.5, np.nan]
    found = plots.cells(grid_rows(trials, values, trials[3]["trial"]), trials)
    assert list(found["value"].columns) == [500, 1000, 2000]
    assert list(found["value"].index) == [10, 50]
    np.testing.assert_array_equal(found["value"], [[0.4, 0.2, np.nan], [0.3, 0.1, 0.5]])
    np.testing.assert_array_equal(found["chosen"], [[True, False, False], [False, False, False]])


def test_cells_of_one_axis_are_a_row():
    trials = [fixture.trial("pca", {"components": n}, headline=["components"], grid=["components"]) for n in (64, 8)]
    found = plots.cells(grid_rows(trials, [0.3, 0.2], trials[0]["trial"]), trials)
    assert found["value"].shape == (1, 2)
    assert list(found["value"].columns) == [8, 64]


def test_cells_average_seeds_and_take_the_best_of_further_axes():
    trials = []
    for mu, lam, depth, seed in itertools.product((10, 50), (500, 1000), (1, 2), (0, 1)):
        one = fixture.age(lam, mu, seed)
        one["options"]["depth"] = depth
        one["grid"] = ["lambda_z", "mu_x", "depth"]
        one["trial"] += f"+depth~{depth}"
        trials.append(one)
    values = [0.2, 0.4, 0.9, 0.1, *[0.3] * 4, *[0.6] * 4, *[0.7, 0.9], *[0.5] * 2]
    found = plots.cells(grid_rows(trials, values, None), trials)
    assert found["value"].to_numpy() == pytest.approx(np.array([[0.5, 0.3], [0.6, 0.8]]))


def test_axes_that_vary_are_shown_before_those_that_do_not():
    """Else a heat map of lambda and mu alone would hide that the learning rate was halved in one setting."""
    trials = [fixture.age(1000, 10), fixture.age(1000, 10)]
    for one, every in zip(trials, (0, 200), strict=True):
        one["options"]["halve_every"] = every
        one["grid"] = ["lambda_z", "mu_x", "halve_every"]
        one["trial"] += f"+halve_every~{every}"
    found = plots.cells(grid_rows(trials, [0.2, 0.4], trials[1]["trial"]), trials)
    assert (found["value"].columns.name, list(found["value"].columns)) == ("lambda_z", [1000])
    assert (found["value"].index.name, list(found["value"].index)) == ("halve_every", [0, 200])
    np.testing.assert_array_equal(found["value"], [[0.2], [0.4]])


def test_cells_of_one_thing_at_a_time_are_a_row_per_setting_in_the_configs_order():
    trials = fixture.one_at_a_time(seeds=(0, 1))
    values = [0.3, 0.5, 0.2, 0.2, 0.1, 0.1, 0.6, 0.8, np.nan, 0.9, np.nan, np.nan]
    rows = grid_rows(trials, values, trials[6]["trial"])
    rows.loc[rows["trial"] == trials[10]["trial"], "status"] = "collapsed"
    found = plots.cells(rows, trials)
    assert list(found["value"].index) == [
        "nothing changed", "kl exact", "lambda_z 500", "lambda_z 2000", "mu_x 50", "latent 64",
    ]  # fmt: skip
    np.testing.assert_allclose(found["value"][""], [0.4, 0.2, 0.1, 0.7, 0.9, np.nan])
    assert list(found["words"][""].str.replace("\N{NO-BREAK SPACE}", " ")) == [
        "40.0 %", "20.0 %", "10.0 %", "70.0 %, chosen", "90.0 %", "collapsed",
    ]  # fmt: skip
    assert list(found["chosen"][""]) == [False, False, False, True, False, False]


def test_cells_of_two_axes_say_which_pairs_have_no_result():
    trials = [fixture.age(lam, mu) for lam, mu in ((1000, 10), (500, 10), (2000, 10), (1000, 50))]
    found = plots.cells(grid_rows(trials, [0.4, 0.3, 0.5, 0.2], trials[2]["trial"]), trials)
    np.testing.assert_array_equal(found["value"], [[0.3, 0.4, 0.5], [np.nan, 0.2, np.nan]])
    assert list(found["words"].loc[50]) == ["no result", "20.0\N{NO-BREAK SPACE}%", "no result"]
    assert found["chosen"].to_numpy().tolist() == [[False, False, True], [False] * 3]


def test_one_thing_at_a_time_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "FIGURES", ["heatmap.svg", "curves.svg"])
    trials = fixture.one_at_a_time()
    values = {("age", one["trial"]): (0.9 + number / 100,) * 4 for number, one in enumerate(trials)}
    values["age", trials[1]["trial"]] = None
    results = write(tmp_path, trials, values)
    drawn = draw(results, trials)
    for words in ("nothing changed", "kl exact", "latent 64", "collapsed", "95.0", "chosen"):
        assert words in drawn["heatmap.svg"]
    assert "no result" not in drawn["heatmap.svg"]
    # A curve is named by the headline and by what its own grid sets, not by every axis of the others.
    assert "lambda_z 1000, mu_x 10, latent 64 (chosen)" in drawn["curves.svg"]
    assert "latent 128" not in drawn["curves.svg"]


def test_long_names_are_broken_after_commas_only():
    text = "age: lambda_z 1000, mu_x 10, iterations 6250, halve_every 1667 (chosen)"
    assert plots._wrapped(text, 50) == text.replace(" halve", "\nhalve")
    assert plots._wrapped(text[:40], 50) == text[:40]
    assert plots._wrapped("a" * 60, 50) == "a" * 60


def test_thin_keeps_extremes():
    steps = np.arange(1000)
    history = pd.DataFrame({"iteration": steps, "variance_min": 1.0, "variance_max": 1.0, "pixel_match": steps})
    history.loc[500, "variance_min"], history.loc[700, "variance_max"] = 0.01, 9.0
    small = plots.thin(history)
    assert len(small) == plots.POINTS
    assert (small["variance_min"].min(), small["variance_max"].max()) == (0.01, 9.0)
    assert small["pixel_match"].is_monotonic_increasing


def test_limits_ignore_an_explosion():
    values = np.concatenate([np.linspace(0, 1, 1000), [1e30, np.inf, np.nan]])
    low, high = plots._limits(values)
    assert -0.2 < low < 0.05
    assert 0.95 < high < 1.2
    assert plots._limits(np.array([np.nan])) is None


def test_encoders_keep_their_colour():
    alone = style.encoder_colours(["age", "clip"])
    among = style.encoder_colours(["age", "pca", "clip", "pixels", "random"])
    assert {name: among[name] for name in alone} == alone
    many = style.encoder_colours([f"new{number}" for number in range(5)])
    assert len(set(many.values())) == 5


def luminance(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("theme", style.THEMES)
def test_contrast(theme):
    """WCAG 2: text 4.5:1, graphics 3:1."""
    side = style.THEMES.index(theme)
    colours = [pair[side] for pair in (*style.ENCODERS.values(), *style.SPARE)]
    for colour, least in [(one, 3) for one in (*colours, *style.LINES[theme])] + [
        (one[theme], 4.5) for one in (style.INK, style.MUTED, style.ACCENT)
    ]:
        light, dark = sorted([luminance(colour), luminance(style.GROUND[theme])], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, colour


def test_setting_ignores_the_seed():
    assert setting(fixture.age(500, 10, 0)) == setting(fixture.age(500, 10, 7))


def test_letters_of_choices_stand_in_their_cells():
    trials = [fixture.age(lam, 10) for lam in (500, 1000)]
    rows = grid_rows(trials, [0.3, 0.4], trials[1]["trial"])
    found = plots.cells(rows, trials, letters={trials[0]["trial"]: "A C", trials[1]["trial"]: "B"})
    assert found["words"].to_numpy().ravel().tolist() == [
        "30.0\N{NO-BREAK SPACE}%\nA C",
        "40.0\N{NO-BREAK SPACE}%\nchosen\nB",
    ]


def test_every_headline_metric_has_a_heat_map_with_the_choices_without_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "FIGURES", ["heatmap.svg", "heatmap-narrow.svg"])
    trials = fixture.standard_trials()
    drawn = draw(write(tmp_path, trials, fixture.STANDARD), trials)
    for svg in drawn.values():
        for words in ("age: precision@3", "age: k-NN accuracy@3", "age: SVM accuracy", "A C", "chosen"):
            assert words in svg
        # On validation: k-NN accuracy 97.2 and SVM accuracy 96.2 of the chosen setting.
        assert "97.2" in svg
        assert "96.2" in svg


def many_settings(count):
    """Trials that change one thing each, with grid.csv: the last has the best precision and the worst accuracy."""
    trials = [fixture.age(1000, 10) for _ in range(count)]
    for number, one in enumerate(trials):
        key = f"option{number}"
        one["options"] |= {f"option{other}": int(other == number) for other in range(count)}
        one["grid"] = ["lambda_z", "mu_x", *(f"option{other}" for other in range(count))]
        one["axes"], one["trial"] = [key], f"{key}~1+{one['trial']}"
    rows = grid_rows(trials, [number / 100 for number in range(count)], trials[0]["trial"])
    return trials, rows.assign(val_knn_accuracy=1 - rows["val_precision"], val_svm_accuracy=np.nan)


def test_a_long_list_of_settings_keeps_the_best_and_the_chosen_in_every_panel(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_heat", lambda axis, table, *_, **__: drawn.append(table))
    trials, rows = many_settings(60)
    choices = {("age", trials[7]["trial"]): "B", ("pca", trials[8]["trial"]): "C"}
    plots.plt.close(plots.heatmap(rows, trials, "light", columns=3, k=5, choices=choices))
    precision, accuracy = drawn
    # The chosen has the worst precision; the best 40 are the last 40; B would choose the eighth.
    assert list(precision["value"][""]) == [0.0, 0.07, *(number / 100 for number in range(20, 60))]
    assert list(accuracy["value"][""]) == pytest.approx([1.0, 0.93, *(1 - number / 100 for number in range(20, 60))])
    for table in drawn:
        for name in ("value", "words", "chosen"):
            assert table[name].index.equals(precision["value"].index)
            assert table[name].index.name == "best 40 of 60 settings by precision@5, and the chosen"
        assert list(table["chosen"][""]) == [True] + 41 * [False]


def test_a_list_is_shortened_where_it_is_too_long_and_counts_the_chosen_once():
    trials, rows = many_settings(41)
    table = plots.cells(rows.assign(chosen=rows["trial"] == trials[-1]["trial"]), trials)
    (found,) = plots.shortened([table], "precision@3")
    assert found["value"].index.name == "best 40 of 41 settings by precision@3"
    assert len(found["value"]) == 40
    assert plots.shortened([found], "precision@3")[0]["value"] is found["value"]  # short enough
    assert plots.shortened([table | {"axes": ["a", "b"]}], "precision@3")[0]["value"] is table["value"]


def test_hundreds_of_curves_are_a_crowd_behind_the_chosen():
    trials = [fixture.age(number, 10) for number in range(1, 101)]
    history = pd.DataFrame({"iteration": range(0, 600, 3), "loss_encoder": 1.0, "pixel_match": 0.5})
    history = history.assign(variance_min=0.5, variance_mean=1.0, variance_max=1.5)
    chosen = plots.setting(trials[70])
    with plots.plt.rc_context(style.settings("light")):
        figure = plots.curves([(one, history) for one in trials], chosen, "light", columns=4, width=8)
    axis = figure.axes[0]
    lines = [line for line in axis.lines if len(line.get_xdata()) > 2]
    assert len(lines) == plots.MANY + 1
    crowd = max(lines, key=lambda line: len(line.get_xdata()))
    assert np.isnan(crowd.get_xdata()).sum() == 100 - plots.MANY  # a gap after each
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "age: lambda_z 71, mu_x 10 (chosen)"
    assert f"{100 - plots.MANY} other settings" in labels
    plots.plt.close(figure)
