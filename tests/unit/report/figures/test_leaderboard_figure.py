import numpy as np
import pandas as pd
from figures_fixture import look

from visrec.report.figures.leaderboard import leaderboard

METRICS = ("precision", "knn_accuracy", "svm_accuracy")


def rows(precision=0.6, status="ok"):
    scores = {"precision": precision, "knn_accuracy": 0.7, "svm_accuracy": np.nan}
    limits = {f"{name}_{end}": scores[name] + by for name in METRICS for end, by in (("low", -0.02), ("high", 0.03))}
    one = {"encoder": "pixels", "status": "ok", "k": 3, "majority": 0.12} | {f"{name}_chance": 0.1 for name in METRICS}
    other = one | {"encoder": "age", "status": "collapsed"} | dict.fromkeys([*scores, *limits], np.nan)
    return pd.DataFrame([one | scores | limits | {"status": status}, other])


def test_points_intervals_and_references_stand_at_their_values():
    with look(leaderboard, rows()) as figure:
        precision, accuracy = figure.axes  # no encoder has an SVM accuracy
        assert [axis.get_title(loc="left") for axis in figure.axes] == ["precision@3", "k-NN accuracy@3"]
        for axis, value in ((precision, 0.6), (accuracy, 0.7)):
            (container,) = axis.containers
            assert container.lines[0].get_xydata().tolist() == [[value, 0]]
            np.testing.assert_allclose(container.lines[2][0].get_segments()[0][:, 0], [value - 0.02, value + 0.03])
            assert axis.get_xlim() == (0, 1)
            assert [text.get_text() for text in axis.texts] == ["collapsed"]
            assert axis.texts[0].get_position()[1] == 1  # the second row
        lines = [[line.get_xdata()[0] for line in axis.lines if len(line.get_xdata()) == 2] for axis in figure.axes]
    assert lines == [[0.1], [0.1, 0.12]]  # the majority class has no precision


def test_without_a_score_the_figure_says_so():
    nothing = rows().assign(**dict.fromkeys(METRICS, np.nan))
    with look(leaderboard, nothing) as figure:
        assert figure.texts[0].get_text() == "No encoder gave an embedding that could be scored."
