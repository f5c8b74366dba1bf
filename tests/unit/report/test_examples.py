"""What the report's examples show: selections from lists worked out by hand, and the data that goes to the page."""

from types import SimpleNamespace

import pandas as pd
import pytest
import report_fixture as fixture

from visrec.report.examples import Lists, disagreed, examples, hardest, hubs, overlap, precision, read, typical
from visrec.report.sprites import Pictures
from visrec.scoring.queries import COLUMNS

# Pictures of train are named by their class and a number, queries by their class.
AGE = {"cat": "c1 c2 d1", "dog": "d1 d2 d3", "cat 2": "d1 d2 c3", "dog 2": "d1 c1 d4"}  # 2/3, 1, 1/3, 2/3 right
PIXELS = {"cat": "c1 d1 d2", "dog": "c1 c2 c3", "cat 2": "d1 d2 c3", "dog 2": "d1 d2 d3"}  # 1/3, 0, 1/3, 1 right
CLASS = {"c": "cat", "d": "dog"}


def write(path, lists, labels=True):
    rows = []
    for query, found in lists.items():
        for rank, name in enumerate(found.split(), start=1):
            truth, label = (query.split()[0], CLASS[name[0]]) if labels else ("", "")
            rows.append((query, truth, rank, name, label, 0.5 * rank, (truth == label) if labels else None))
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


@pytest.fixture
def lists(tmp_path):
    def both(labels=True, k=3):
        return [read(write(tmp_path / f"{labels}.csv", one, labels), k) for one in (AGE, PIXELS)]

    return both


def test_lists_are_read_in_their_order_and_cut(lists):
    age, _ = lists(k=2)
    assert list(age.labels.items()) == [("cat", "cat"), ("dog", "dog"), ("cat 2", "cat"), ("dog 2", "dog")]
    assert [(one.id, one.label, one.distance, one.correct) for one in age.found["cat 2"]] == [
        ("d1", "dog", 0.5, False),
        ("d2", "dog", 1.0, False),
    ]


def test_precision_and_overlap(lists):
    age, pixels = lists()
    assert [precision(age.found[query]) for query in AGE] == pytest.approx([2 / 3, 1, 1 / 3, 2 / 3])
    assert [overlap([age.found[query], pixels.found[query]]) for query in AGE] == [2 / 4, 0 / 6, 1, 1 / 5]
    assert overlap([age.found["cat"], age.found["dog"], age.found["cat 2"]]) == pytest.approx(
        (1 / 5 + 1 / 5 + 2 / 4) / 3
    )


def test_typical_are_the_first_by_class(lists):
    labels = lists()[0].labels
    assert typical(labels, ["dog", "cat"], 3) == ["dog", "cat", "cat 2"]
    assert typical(labels, ["dog", "cat"], 1) == ["cat"]
    assert len(typical(labels, [], 9)) == 4


def test_hardest_have_the_lowest_mean_precision(lists):
    # (2/3 + 1/3)/2, (1 + 0)/2, (1/3 + 1/3)/2, (2/3 + 1)/2; of equals in the order of the file
    assert hardest(lists(), AGE, 4) == ["cat 2", "cat", "dog", "dog 2"]
    assert hardest(lists(), AGE, 1) == ["cat 2"]
    assert hardest(lists()[:1], AGE, 2) == ["cat 2", "cat"]


def test_most_disagreed_differ_in_precision_then_in_what_they_recommend(lists):
    # spreads 1/3, 1, 0, 1/3; of "cat" and "dog 2" the latter shares less
    assert disagreed(lists(), AGE, 4) == ["dog", "dog 2", "cat", "cat 2"]
    assert disagreed(lists()[:1], AGE, 4) == []


def test_without_labels_there_are_no_hardest_and_overlap_alone_decides(lists):
    found = lists(labels=False)
    assert precision(found[0].found["cat"]) is None
    assert hardest(found, AGE, 4) == []
    assert disagreed(found, AGE, 4) == ["dog", "dog 2", "cat", "cat 2"]  # 0, 1/5, 2/4, 1


def test_hubs_are_in_most_lists_and_in_two_at_least(lists):
    age, pixels = lists()
    assert hubs(age, 9) == ["d1", "c1", "d2"]  # 4, 2 and 2
    assert hubs(pixels, 2) == ["d1", "d2"]  # 3 and 3; c1 and c3 are in 2
    assert hubs(Lists(), 2) == []


CHAPTER = {
    "info": SimpleNamespace(classes=["cat", "dog"], counts={"train": 8}),
    "status": {"random": "diverged", "age": "ok", "pixels": "ok"},
    "first": "age",
}


def shown(root, lists, *, labels=True, queries=2, neighbours=3):
    trials = [fixture.trial(encoder, {}, dataset="pets", size=8) for encoder in lists]
    for encoder, one in lists.items():
        write(root / "pets/8px" / encoder / "seed~0/neighbours.csv", one, labels)
    pictures = Pictures()
    return examples(fixture.experiment(root, trials), CHAPTER, pictures, queries, neighbours), pictures.data()


def test_the_page_gets_every_selection_and_its_words(tmp_path):
    data, pictures = shown(tmp_path, {"random": {}, "age": AGE, "pixels": PIXELS})
    assert [one["name"] for one in data["encoders"]] == ["random", "age", "pixels"]
    assert data["first"] == [1, 2]
    names = [
        [pictures[data["items"][number]["asked"]]["id"] for number in one["items"][1]] for one in data["selections"]
    ]
    assert names == [["cat", "dog"], ["cat 2", "cat"], ["dog", "dog 2"], ["d1", "c1"]]
    typical, hardest, *_, hubs = data["selections"]
    assert (typical["name"], hubs["name"]) == ("typical queries", "biggest hubs")
    assert "Of the 4 queries that were searched, those with the lowest precision@3" in hardest["about"]
    assert "On average a picture is in 1.5 of the 4 lists, which name 3 of 8 each." in hubs["about"]  # 4 * 3 / 8
    item = data["items"][typical["items"][1][1]]
    assert (item["kind"], item["says"]) == ("query", "query dog, label dog")
    assert [answer["says"] for answer in item["answers"]] == [
        "no neighbours: diverged", "3 of 3 right", "0 of 3 right",
    ]  # fmt: skip
    found = [(pictures[number]["id"], below, right) for number, below, right in item["answers"][1]["found"]]
    assert found == [("d1", "0.5", True), ("d2", "1", True), ("d3", "1.5", True)]


def test_a_hub_has_the_queries_it_is_recommended_to(tmp_path):
    data, pictures = shown(tmp_path, {"random": {}, "age": AGE, "pixels": PIXELS})
    hub = data["items"][data["selections"][-1]["items"][1][0]]
    assert (hub["kind"], hub["says"]) == ("hub", "hub d1, label dog")
    assert [answer["says"] for answer in hub["answers"]] == [
        "no neighbours: diverged",
        "in 4 of 4 lists, 2 of its class; 3 shown",
        "in 3 of 4 lists, 1 of its class",
    ]
    found = [(pictures[number]["id"], below, right) for number, below, right in hub["answers"][1]["found"]]
    assert found == [("cat", "rank 3", False), ("dog", "rank 1", True), ("cat 2", "rank 1", False)]
    assert {one["split"] for one in pictures if one["id"] in AGE} == {"test"}


def test_one_encoder_and_fewer_queries_than_asked(tmp_path):
    data, _ = shown(tmp_path, {"age": AGE}, queries=99)
    assert data["first"] == [0]
    assert [one["name"] for one in data["selections"]] == ["typical queries", "hardest queries", "biggest hubs"]
    assert len(data["selections"][0]["items"][0]) == 4


def test_without_labels_counts_are_of_pictures(tmp_path):
    data, _ = shown(tmp_path, {"age": AGE, "pixels": PIXELS}, labels=False)
    assert [one["name"] for one in data["selections"]] == ["typical queries", "most disagreed", "biggest hubs"]
    assert "those where encoders recommend the fewest pictures in common." in data["selections"][1]["about"]
    assert [answer["says"] for answer in data["items"][0]["answers"]] == ["3 pictures", "3 pictures"]
    assert data["items"][0]["says"] == "query cat"
    hub = data["items"][data["selections"][-1]["items"][0][0]]
    assert hub["answers"][0]["says"] == "in 4 of 4 lists; 3 shown"


@pytest.mark.parametrize("lists", [{}, {"random": {}}, {"random": {}, "age": {}}])
def test_nobody_has_neighbours(tmp_path, lists):
    assert shown(tmp_path, lists) == (None, [])


def test_encoders_are_compared_on_the_queries_they_share(tmp_path):
    data, pictures = shown(tmp_path, {"age": AGE, "pixels": {"dog": "d1 d2 d3"}}, queries=9)
    assert {one["id"] for one in pictures if one["split"] == "test"} == {"dog"}
    assert len(data["items"][0]["answers"]) == 2
