import pytest

from visrec.errors import UserError
from visrec.experiment.config_file import read, typed


@pytest.mark.parametrize(
    "content, message",
    [
        ("café: 1".encode("latin-1"), "is not in UTF-8 (byte 3); save it as UTF-8"),
        ("a: 1".encode("utf-16"), "is not in UTF-8 (byte 0); save it as UTF-8"),
        (b"a: " + b"[" * 5000, ", line 1: is nested more than 20 deep"),
        (b"a: [", ", line 1: is not YAML (expected the node content, but found '<stream end>'); correct it"),
        (b"a:\n\tb: 1", ", line 2: is not YAML (found character '\\t' that cannot start any token); correct it"),
        (b"a: \x00", "is not YAML (unacceptable character"),
        (b"a: *b", ", line 1: is not YAML (found undefined alias"),
        (b"a: !!python/object:os.system x", ", line 1: is not YAML (could not determine a constructor"),
        (b"2024: 1", ", line 1: YAML reads the key 2024 as a number; write it in quotes, '2024'"),
        (b"a:\n  no: 1", ", line 2: YAML reads the key no as true or false; write it in quotes, 'no'"),
        (b"~: 1", ", line 1: YAML reads the key ~ as nothing; write it in quotes, '~'"),
        (b"2024-05-12: 1", ", line 1: YAML reads the key 2024-05-12 as a date; write it in quotes, '2024-05-12'"),
        (b"a: [1,\n 010]", ", line 2: YAML reads 010 in base 8; write the number itself"),
        (b"a: 1:30", ", line 1: YAML reads 1:30 in base 60; write the number itself"),
        (b"a: " + b"x" * 2**20, "is larger than 1,048,576 bytes, so it is no config"),
        (b"a: &a [1]\nb: &b [" + b"*a," * 400 + b"]\nc: [" + b"*b," * 400 + b"]", "has more than 100,000 values"),
        (b"a: !!bool x", "is not YAML ('x')"),
        (b"a: !!timestamp x", "is not YAML"),
        (b"a: !!int ''", "is not YAML"),
        (b"? [a]\n: 1", "is not YAML"),
        (b"a: 2024-13-45", "is not YAML"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)


def test_encodings_that_are_read(tmp_path):
    for content in ("a: é\n".encode("utf-8-sig"), b"a: \xc3\xa9\r\n", b'{"a": "\xc3\xa9"}'):
        (tmp_path / "mine.yaml").write_bytes(content)
        assert read(tmp_path / "mine.yaml") == {"a": "é"}


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("datasets:\n  digits: {sizes: [32]}\n  digits: {sizes: [64]}\n")
    with pytest.raises(UserError, match=r"twice.yaml, line 3: 'digits' stands twice; give one of them another name"):
        read(path)
    path.write_text("a: [{b: 1}, {b: 2}]\nc: {b: 1}\n")
    read(path)
    path.write_text("")
    read(path)


@pytest.mark.parametrize("parts", ["<<: [*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}]", "<<: *{0}, k{1}: 1"])
def test_merged_keys_that_grow_without_end(tmp_path, parts):
    """9 to the 60 copies, or 1,000 + 999 + 998 ...: to build them would take for ever, or seconds."""
    count = 60 if "[" in parts else 1000
    lines = [f"a{n}: &a{n} {{{parts.format(f'a{n - 1}', n)}}}" for n in range(1, count)]
    (tmp_path / "mine.yaml").write_text("\n".join(["a0: &a0 {x: 1}", *lines]))
    with pytest.raises(UserError, match=r", line \d+: has more than 100,000 values; repeat no part of it by `\*`"):
        read(tmp_path / "mine.yaml")


def test_numbers_and_words_that_are_what_they_seem(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "a: [0, 10, 0x10, 1_000, 0.5, -0.0, '010', '1:30', no]\nb: &b {c: 1}\nd: {<<: *b}\n"
    )
    found = {"a": [0, 10, 16, 1000, 0.5, 0.0, "010", "1:30", False], "b": {"c": 1}, "d": {"c": 1}}
    assert read(tmp_path / "mine.yaml") == found


def test_values_of_the_command_line():
    """As Snakemake hands them on: `--config 'a=[0, 1.5, x]' b=true c=2 'd={e: [False, 1e-4], f: 3}' "g='2024'"`."""
    given = {"a": ["0", "1.5", "x"], "b": "true", "c": 2, "d": {"e": ["False", "1e-4"], "f": "3"}, "g": "2024"}
    found = {"a": [0, 1.5, "x"], "b": True, "c": 2, "d": {"e": [False, 1e-4], "f": 3}, "g": "2024"}
    assert typed(given) == found
    assert [type(each) for each in typed(given)["a"]] == [int, float, str]
