"""A config file that Snakemake could not read is one line before it does."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "profiles/default"
BOMB = b"a: &a [%s]\nb: &b [%s]\nc: [%s]\n" % tuple(b", ".join([word] * 99) for word in (b"x", b"*a", b"*b"))
configfiles = runpy.run_path(str(FOLDER / "configfiles.py"))


@pytest.mark.parametrize(
    "words, files",
    [
        ([], []),
        (["-n", "--configfile", "a.yaml", "b.yaml", "--cores", "2", "c"], ["a.yaml", "b.yaml"]),
        (["--configfile=a.yaml", "target"], ["a.yaml"]),
        (["--configfiles", "a.yaml", "--", "target"], ["a.yaml"]),
        (["--config", "query=x"], []),
    ],
)
def test_which_files_a_command_names(words, files):
    assert configfiles["named"](words) == files


@pytest.mark.parametrize(
    "content, message",
    [
        ("experiment: für\n".encode("latin-1"), ": is not in UTF-8 (byte 13); save it as UTF-8"),
        (b"a: [1\nb: 2\n", ", line 2: is not YAML"),
        (BOMB, ", line 3: has more than 100,000 values; repeat no part of it by `*`"),
        (b"a: " + b"[" * 5000, ", line 1: is nested more than 20 deep"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, content, message):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        configfiles["check"](["--configfile", str(tmp_path / "a.yaml")])
    assert message in caught.value.code and "\n" not in caught.value.code
    configfiles["check"](["--configfile", str(tmp_path / "none.yaml")])


@pytest.mark.parametrize(
    "word, message",
    [
        # Snakemake ends with an AssertionError; of the others it would look for another folder.
        ("query=#1", "query=#1: YAML reads it as a comment; rename it, or write it into the config file"),
        ("query=a #1", "query=a #1: YAML keeps 'a' of it; rename it, or write it into the config file"),
        ("query=!x y", "query=!x y: YAML keeps 'y' of it"),
        ("query= a", "query= a: YAML keeps 'a' of it"),
        ("query='a #1'", "query='a #1': YAML keeps 'a' of it"),
    ],
)
def test_text_of_which_yaml_keeps_a_part_is_one_line(word, message):
    with pytest.raises(SystemExit) as caught:
        configfiles["check"](["recommend", "--config", "device=cpu", word, "-n"])
    assert message in caught.value.code and "\n" not in caught.value.code
    whole = ["query=a#1", "query='a b'", 'query="a"', "query=a b", "query=~/a", "query=it's", "query="]
    configfiles["check"](["recommend", "--config", "device=cpu", *whole, "-n", "#1"])
