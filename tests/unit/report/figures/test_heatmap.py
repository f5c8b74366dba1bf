import numpy as np
import pytest
import report_fixture as fixture
from figures_fixture import grid_rows, look, many_settings, read

from visrec.report.figures import heatmap as drawn_by
from visrec.report.figures.heatmap import PALEST, heatmap


def panel(axis):
    """Title, and what is written into the cells."""
    return axis.get_title(loc="left"), [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in axis.texts]


def frames(axis):
    """Places of the frames around the chosen cells."""
    return [(int(patch.get_x()), int(patch.get_y())) for patch in axis.patches if patch.get_linewidth() > 2]


def test_cells_show_values_states_and_the_chosen_framed():
    trials = [fixture.age(lam, mu) for lam, mu in ((500, 10), (1000, 10), (500, 50), (1000, 50), (2000, 50))]
    rows = grid_rows(trials, [0.968, 0.962, 0.955, np.nan, 0.5], trials[0].name)
    rows.loc[3, "status"] = "collapsed"
    rows.loc[[1, 4], "beside_chosen"] = "worse"
    rows = rows.assign(val_knn_accuracy=np.nan, val_svm_accuracy=np.nan)
    letters = {("age", trials[1].name): "B", ("pca", trials[0].name): "Z"}
    with look(heatmap, rows, trials, choices=letters, k=5) as figure:
        (axis,) = figure.axes
        title, words = panel(axis)
        assert title == "age: precision@5"
        assert words[:4] == ["96.8 %\nchosen", "96.2 %\nB", "95.5 %", "50.0 %"]
        assert words[4:] == ["no result", "collapsed"]
        assert frames(axis) == [(0, 0)]
        assert [label.get_text() for label in axis.get_xticklabels()] == ["500", "1000", "2000"]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["10", "50"]
        (mesh,) = axis.collections
        assert mesh.get_clim() == (-1, 1)
        # The chosen and what is not resolved are grey; 96.2 and 50.0 % are worse, the latter by most.
        palest = PALEST + (1 - PALEST) * (0.968 - 0.962) / (0.968 - 0.5)
        drawn = np.ma.filled(mesh.get_array(), np.nan).ravel()
        assert drawn == pytest.approx([0, -palest, np.nan, 0, np.nan, -1], nan_ok=True)


def test_all_collapsed_is_drawn():
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    rows = grid_rows(trials, [np.nan, np.nan], trials[0].name).assign(status="collapsed")
    rows = rows.assign(val_knn_accuracy=np.nan, val_svm_accuracy=np.nan)
    with look(heatmap, rows, trials) as figure:
        (axis,) = figure.axes
        assert panel(axis) == ("age: precision@3", ["collapsed", "collapsed"])
        assert frames(axis) == []


def test_one_thing_at_a_time_is_a_row_per_setting():
    trials = fixture.one_at_a_time()
    rows = grid_rows(trials, [0.9 + number / 100 for number in range(6)], trials[5].name)
    rows.loc[1, ["val_precision", "status"]] = np.nan, "collapsed"
    rows = rows.assign(val_knn_accuracy=np.nan, val_svm_accuracy=np.nan)
    with look(heatmap, rows, trials) as figure:
        (axis,) = figure.axes
        _, words = panel(axis)
        labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["nothing changed", "kl exact", "lambda_z 500", "lambda_z 2000", "mu_x 50", "latent 64"]
    assert words == ["90.0 %", "92.0 %", "93.0 %", "94.0 %", "95.0 %, chosen", "collapsed"]


def test_every_headline_metric_has_a_heat_map_with_the_choices_without_labels(drawn):
    figures = read(drawn / "figures")
    for svg in (figures["heatmap.svg"], figures["heatmap-narrow.svg"]):
        for words in ("age: precision@3", "age: k-NN accuracy@3", "age: SVM accuracy", "A C", "chosen", "collapsed"):
            assert words in svg
        # On validation: k-NN accuracy 97.2 and SVM accuracy 96.2 of the chosen setting.
        for words in ("96.8", "96.2", "95.5", "97.2"):
            assert words in svg


def test_a_long_list_of_settings_keeps_the_best_and_the_chosen_in_every_panel(monkeypatch):
    drawn = []
    monkeypatch.setattr(drawn_by, "_heat", lambda axis, table, *_, **__: drawn.append(table))
    trials, rows = many_settings(60)
    choices = {("age", trials[7].name): "B", ("pca", trials[8].name): "C"}
    with look(heatmap, rows, trials, columns=3, k=5, choices=choices):
        precision, accuracy = drawn
    # The chosen has the worst precision; the best 40 are the last 40; B would choose the eighth.
    assert list(precision["value"][""]) == [0.0, 0.07, *(number / 100 for number in range(20, 60))]
    assert list(accuracy["value"][""]) == pytest.approx([1.0, 0.93, *(1 - number / 100 for number in range(20, 60))])
    for table in drawn:
        for name in ("value", "words", "chosen", "beside"):
            assert table[name].index.equals(precision["value"].index)
            assert table[name].index.name == "best 40 of 60 settings by precision@5, and the chosen"
        assert list(table["chosen"][""]) == [True] + 41 * [False]


def test_other_metrics_are_coloured_where_intervals_do_not_meet():
    trials = [fixture.age(lam, 10) for lam in (500, 1000, 2000)]
    rows = grid_rows(trials, [0.9, 0.8, 0.7], trials[0].name)
    value = np.array([0.5, 0.6, 0.7])
    limits = {"val_knn_accuracy_low": value - 0.06, "val_knn_accuracy_high": value + 0.06}
    rows = rows.assign(val_knn_accuracy=value, val_svm_accuracy=np.nan, **limits)
    with look(heatmap, rows, trials, columns=2) as figure:
        meshes = [np.asarray(axis.collections[0].get_array()).ravel() for axis in figure.axes]
    assert meshes[0].tolist() == [0, 0, 0]  # precision: the paired word, here of nothing resolved
    assert meshes[1].tolist() == [0, 0, 1]  # 0.54 to 0.66 meets 0.44 to 0.56, 0.64 to 0.76 does not
