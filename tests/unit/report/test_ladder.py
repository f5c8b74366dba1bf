"""Published numbers beside ours."""

from pathlib import Path

import pytest

from visrec.errors import UserError
from visrec.report import ladder

REPOSITORY = Path(__file__).parents[3]
HEAD = ",".join(ladder.COLUMNS)
CONFIG = {"datasets": {"cifar10": {}, "mine": {"kind": "image_folder"}, "jpeg": {"kind": "image_folder"}}}
BOARD = [
    {"encoder": "age", "k": 3, "svm_accuracy": 0.6, "svm_accuracy_low": 0.55, "svm_accuracy_high": 0.65}
    | {f"knn_accuracy{end}": value for end, value in (("", 0.4), ("_low", 0.35), ("_high", 0.45))}
]
LINES = (
    "cifar10,raw pixels,accuracy,35.4,k=1,uint8,secondary,https://a.example/x (Table 1),knn,",
    "cifar10,SimCLR,accuracy,91.8,linear probe,,read,README of something,linear,",
    "cifar10,K-means,accuracy,55.0,linear SVM,,read,https://b.example,linear,",
    "cifar10,chance,precision@k,10.0,any k,,derived,arithmetic,,arithmetic",
)


def written(folder, *lines, head=HEAD):
    path = folder / "ladder.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def test_ours_stand_between_what_was_published_of_the_same_kind(tmp_path):
    found = ladder.rungs(ladder.read(written(tmp_path, *LINES)), CONFIG, "cifar10", BOARD)
    knn, linear = found["ladders"]
    assert [(row["label"], row["encoder"]) for row in knn["rows"]] == [("age", "age"), ("raw pixels", None)]
    assert [row["label"] for row in linear["rows"]] == ["SimCLR", "age", "K-means"]
    assert linear["rows"][1]["mark"] == {"v": 60.0, "l": 55.0, "h": 65.0}
    assert (linear["rows"][0]["mark"]["v"], linear["published"]) == (91.8, 2)
    assert [(row["label"], row["reason"]) for row in found["others"]] == [("chance", "arithmetic")]


def test_only_web_addresses_become_links(tmp_path):
    lines = [*LINES, "cifar10,evil,accuracy,1,x,,read,javascript:alert(1),knn,"]
    rows = {row["method"]: (row["link"], row["source"]) for row in ladder.read(written(tmp_path, *lines))}
    assert rows["raw pixels"] == ("https://a.example/x", "(Table 1)")
    assert rows["SimCLR"] == ("", "README of something")
    assert rows["evil"] == ("", "javascript:alert(1)")


def test_the_config_says_which_ladder_a_folder_of_pictures_has(tmp_path):
    rows = ladder.read(written(tmp_path, *LINES))
    assert ladder.rungs(rows, CONFIG, "mine", BOARD) is None
    named = {"datasets": {"jpeg": {"kind": "image_folder", "ladder": "cifar10"}}}
    assert ladder.rungs(rows, named, "jpeg", BOARD)["name"] == "cifar10"
    wrong = {"datasets": {"jpeg": {"kind": "image_folder", "ladder": "cifar1O"}}}
    with pytest.raises(UserError, match=r"datasets.jpeg.ladder: unknown 'cifar1O'.*cifar10"):
        ladder.rungs(rows, wrong, "jpeg", BOARD)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cifar10,x,accuracy,many,k,,read,s,knn,", r"line 2: value_pct is 'many', not a number from 0 to 100"),
        ("cifar10,x,accuracy,nan,k,,read,s,knn,", "value_pct is 'nan'"),
        ("cifar10,x,accuracy,101,k,,read,s,knn,", "value_pct is '101'"),
        ("cifar10,x,accuracy,1,k,,read,s,svm,", "comparable is 'svm'"),
        ("cifar10,x,accuracy,1,k,,memory,s,knn,", "evidence is 'memory'"),
        ("cifar10,x,accuracy,1,k,,read,s,,", "needs either `comparable` or the `reason`"),
        ("cifar10,x,accuracy,1,k,,read,s,knn,differs", "needs either `comparable` or the `reason`"),
        ("cifar10,x,MAP@R,1,k,,read,s,knn,", "metric 'MAP@R' is comparable with nothing"),
        ("cifar10,x,accuracy,1,k", "has fewer values than columns"),
        ("cifar10,x,accuracy,1,k,a,b,c,d,e,f,g", "has more values than columns"),
    ],
)
def test_a_malformed_row_is_one_line(tmp_path, line, message):
    with pytest.raises(UserError, match=message) as error:
        ladder.read(written(tmp_path, line))
    assert "\n" not in str(error.value)


def test_a_wrong_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="column 'source' is missing"):
        ladder.read(written(tmp_path, *LINES, head=HEAD.replace("source", "where")))
    with pytest.raises(UserError, match="is missing; get it back"):
        ladder.read(tmp_path / "none.csv")
    (tmp_path / "ladder.csv").write_bytes(HEAD.encode() + b"\n\xff\xfe\n")
    with pytest.raises(UserError, match="not a CSV file in UTF-8"):
        ladder.read(tmp_path / "ladder.csv")


def test_the_repositorys_ladder_can_be_read():
    rows = ladder.read(REPOSITORY / "docs/ladder.csv")
    assert {"cifar10", "svhn", "tiny_imagenet"} <= {row["dataset"] for row in rows}
    assert all(row["source"] or row["link"] for row in rows)
    paper = {row["value_pct"]: row["comparable"] for row in rows if row["method"].startswith("seed ")}
    assert paper.keys() >= {"43.2", "16.2", "19.46", "12.79"}
    assert set(paper.values()) == {""}
