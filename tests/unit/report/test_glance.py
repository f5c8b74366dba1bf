"""The query beside the answer, from neighbours.csv made by hand."""

import math

import pytest

from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.glance import glance

YES, NO = "True", "False"


class Pictures:
    """What is asked for gets the next number."""

    def __init__(self):
        self.asked = []

    def number(self, split, name, label):
        self.asked.append((split, name, label))
        return len(self.asked) - 1


def found(tmp_path, k=3, averages=None, order=("age", "pixels", "pca"), **lists):
    """`glance` of lists such as age={"q1": "yyn"}; "?" is neither right nor wrong."""
    trials = []
    for encoder, queries in lists.items():
        trials.append(Trial("digits", 16, encoder, {}, 0, "seed~0"))
        path = tmp_path / trials[-1].folder / layout.NEIGHBOURS
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = ["query_id,query_label,rank,id,label,distance,correct"]
        for query, marks in queries.items():
            right = {"y": YES, "n": NO, "?": ""}
            rows += [f"{query},7,{rank},t{rank},7,0.5,{right[mark]}" for rank, mark in enumerate(marks, 1)]
        path.write_text("\n".join(rows) + "\n")
    pictures = Pictures()
    experiment = Experiment(tmp_path, trials, ["knn"])
    averages = averages or dict.fromkeys(order, 0.5)
    return glance(experiment, averages, order, k, pictures), pictures.asked


def test_it_is_the_query_where_both_are_nearest_to_their_averages(tmp_path):
    lists = {
        "age": {"q1": "yyy", "q2": "yny", "q3": "nnn"},
        "pixels": {"q1": "nnn", "q2": "ynn", "q3": "yyy"},
        "pca": {"q1": "nnn", "q2": "nnn", "q3": "nnn"},
    }
    # Of three: 2 and 1 right in q2, 0.04 and 0.03 away; q1 is 0.3 and 0.3 away.
    one, asked = found(tmp_path, averages={"age": 0.7, "pixels": 0.3, "pca": 0.9}, **lists)
    assert asked[0] == ("test", "q2", "7")
    assert (one["asked"], one["queries"], one["typical"]) == (0, 3, True)
    assert [(each["encoder"], each["says"].replace("\N{NO-BREAK SPACE}", " ")) for each in one["answers"]] == [
        ("age", "2 of 3 right, mean 70.0 %"),
        ("pixels", "1 of 3 right, mean 30.0 %"),
    ]
    assert [right for _, right in one["answers"][0]["found"]] == [True, False, True]


def test_the_one_that_is_ahead_on_average_is_not_shown_behind(tmp_path):
    lists = {"age": {"q1": "yyn", "q2": "yyy"}, "pixels": {"q1": "yyy", "q2": "yyn"}}
    # q1 is nearer (0.07 against 0.33 away) but has them the wrong way round.
    _, asked = found(tmp_path, averages={"age": 0.80, "pixels": 0.79}, **lists)
    assert asked[0] == ("test", "q2", "7")


@pytest.mark.parametrize(("k", "shown"), [(2, 2), (3, 3), (10, 5)])
def test_as_many_are_shown_as_the_score_counts_but_no_more_than_five(tmp_path, k, shown):
    one, _ = found(tmp_path, k, age={"q1": "yyyyyyy"})
    assert len(one["answers"][0]["found"]) == shown


def test_encoders_without_lists_are_passed_over(tmp_path):
    one, _ = found(tmp_path, age={}, pixels={"q1": "yyy"}, pca={"q1": "yyy"})
    assert [each["encoder"] for each in one["answers"]] == ["pixels", "pca"]
    assert found(tmp_path / "none", age={}) == (None, [])


@pytest.mark.parametrize(("marks", "average"), [("???", 0.5), ("yyn", math.nan)])
def test_where_nothing_is_right_or_wrong_it_is_the_first(tmp_path, marks, average):
    one, asked = found(tmp_path, averages={"age": average}, order=["age"], age={"q1": marks, "q2": marks})
    assert (asked[0], one["typical"]) == (("test", "q1", "7"), False)
    assert one["answers"][0]["says"] == "3 nearest"
