"""The query beside the answer, from lists made by hand."""

from visrec.report.glance import SHOWN, glance


def item(number, *rights):
    """A query with the marks of each encoder's neighbours."""
    answers = [{"says": "", "found": [(100 + place, "", right) for place, right in enumerate(one)]} for one in rights]
    return {"asked": number, "says": f"query {number}", "answers": answers}


def examples(*items, typical=None):
    encoders = [{"name": name, "status": "ok"} for name in ("pixels", "age", "pca")]
    chosen = list(range(len(items))) if typical is None else typical
    return {"encoders": encoders, "items": list(items), "selections": [{"items": 3 * [chosen]}, {"items": 3 * [[0]]}]}


YES, NO = [True] * SHOWN, [False] * SHOWN
HALF = [True, False, True, False, True]


def test_it_is_the_query_where_both_are_nearest_to_their_averages():
    # Averages over the typical ones: pixels 0.6, age 0.8. Shares of the third: 0.6 and 0.8.
    most = [True, True, True, True, False]
    items = [
        item(1, NO, YES, YES),
        item(2, YES, most, NO),
        item(3, HALF, most, NO),
        item(4, HALF, most, NO),
    ]
    found = glance(examples(*items, typical=[0, 1, 2]), ["age", "pixels", "pca"])
    assert (found["asked"], found["says"]) == (3, "query 3")
    assert [(one["encoder"], one["says"]) for one in found["answers"]] == [
        ("age", "4 of 5 right"),
        ("pixels", "3 of 5 right"),
    ]
    assert [right for _, _, right in found["answers"][1]["found"]] == HALF


def test_no_more_neighbours_count_than_are_shown():
    first, second = item(1, YES + NO, YES, YES), item(2, YES + YES, YES, YES)
    found = glance(examples(first, second), ["pixels", "age"])
    assert found["asked"] == 1  # equal, so the first
    assert len(found["answers"][0]["found"]) == SHOWN


def test_encoders_without_lists_are_passed_over():
    found = glance(examples(item(1, YES, [], HALF)), ["age", "pixels", "age", "pca"])
    assert [one["encoder"] for one in found["answers"]] == ["pixels", "pca"]
    alone = glance(examples(item(1, YES, [], HALF)), ["age", "pixels"])
    assert [one["encoder"] for one in alone["answers"]] == ["pixels"]
    assert glance(examples(item(1, YES, [], HALF)), ["age"]) is None
    assert glance(None, ["age"]) is None


def test_without_labels_it_is_the_first():
    unknown = [None] * SHOWN
    found = glance(examples(item(1, unknown, unknown, unknown), item(2, unknown, unknown, unknown)), ["age"])
    assert found["asked"] == 1
    assert found["answers"][0]["says"] == "5 nearest"
