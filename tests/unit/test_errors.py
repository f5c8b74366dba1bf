"""What users are told."""

import pytest

from visrec.errors import StoppedError, UserError, printable


def test_names_for_people():
    assert printable("a\nb\u202e\udcffé.jpg") == "a\\nb\\u202e\\udcffé.jpg"


@pytest.mark.parametrize("kind", [UserError, StoppedError])
def test_a_message_is_a_line_whatever_names_are_in_it(kind):
    assert str(kind("a\r\nerror: forged\0.jpg: is empty")) == "a\\r\\nerror: forged\\x00.jpg: is empty"
    assert str(kind("first\n", "second")) == "first\\n\nsecond"
