import math

import pandas as pd
import pytest

from visrec.data.csv_files import as_text, read_table, read_text
from visrec.errors import UserError


def test_names_stay_what_they_are(tmp_path):
    names = ["2024", "NA", "nan", "1e5", "True", "", "007", "-0", " x ", 'a,"b"', "null", "ü\nü", "a\rb"]
    table = pd.DataFrame({"dataset": names, "label": names, "seed": range(len(names)), "value": 1 / 3})
    table.to_csv(tmp_path / "t.csv", index=False)
    found = read_table(tmp_path / "t.csv", text=["label"])
    assert found["dataset"].tolist() == found["label"].tolist() == names
    assert found["seed"].tolist() == [*range(len(names))] and found["seed"].dtype == "int64"
    assert found["value"].tolist() == [1 / 3] * len(names)


def test_numbers_are_exact_and_whole_ones_stay_whole(tmp_path):
    (tmp_path / "t.csv").write_text("k,value,empty,chosen\n3,0.1234567890123456789,,True\n10,-inf,,False\n")
    found = read_table(tmp_path / "t.csv", needed=["k"])
    assert found["k"].dtype == "int64" and found["k"].tolist() == [3, 10]
    assert found["value"].tolist() == [0.1234567890123456789, -math.inf]
    assert found["empty"].isna().all() and found["empty"].dtype == "float64"
    assert found["chosen"].tolist() == [True, False] and found["chosen"].dtype == bool
    (tmp_path / "t.csv").write_text("k,value\n3,1\n,2\n")
    found = read_table(tmp_path / "t.csv")
    assert found["k"].tolist()[0] == 3.0 and math.isnan(found["k"][1])
    (tmp_path / "t.csv").write_text("k,dataset\n")
    assert len(read_table(tmp_path / "t.csv")) == 0


@pytest.mark.parametrize(
    "content, message",
    [
        (b"k,value\n3,0.5\n4,o.5\n", r"t\.csv row 2: 'value' is 'o\.5', not a number; delete the file and run again"),
        (b"k,value\n3.5,0.5\n", r"row 1: 'k' is '3\.5', not a whole number"),
        (b"k,value\n1_0,0.5\n", r"row 1: 'k' is '1_0', not a number"),
        (b"k,chosen\n1,true\n", r"row 1: 'chosen' is 'true', not True or False"),
        (b"value\n0.5\n", r"has no column 'k'; delete it"),
        (b"k,value\n3,0.5,7,8\n", r"row 1 has 4 cells under 2 names; delete it and run again"),
        (b"k,value\n3,0.5\n4\n", r"row 2 has 1 cells under 2 names; delete it"),
        (b"k,value\n3,\xff\n", r"is not a table in UTF-8 \(.*utf-8.*\); delete it and run again"),
        (b"", r"is no table, .*; delete it and run again"),
        (b'k,value\n3,"0.5\n', r"is not a table in UTF-8 \(.*\); delete it and run again"),
    ],
)
def test_what_is_damaged_is_one_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_table(tmp_path / "t.csv", needed=["k"])
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"t\.csv: is missing"):
        read_text(tmp_path / "t.csv")


@pytest.mark.parametrize("word", ["=1", "+1", "-1", "@x", "\tx", "\rx", "＝1", "'80s", "''", "boots", "", "a=b", "1e5"])
def test_a_word_in_a_table_for_people_is_no_formula_and_comes_back(tmp_path, word):
    written = as_text(word)
    assert written == (word if word in ("boots", "", "a=b", "1e5") else f"'{word}")
    pd.DataFrame({"class": [written], "n": [1]}).to_csv(tmp_path / "classes.csv", index=False)
    assert read_table(tmp_path / "classes.csv", words=["class"])["class"].tolist() == [word]
