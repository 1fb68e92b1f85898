"""What an error's text may hold."""

from trackmatte.errors import printable


def test_what_a_terminal_would_obey_is_shown_as_an_escape():
    assert printable("a\x1b[31mb\n\udcff") == r"a\x1b[31mb\n\udcff"
    assert printable("Küche 日本 👩‍🚀") == "Küche 日本 👩‍🚀"
