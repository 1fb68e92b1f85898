"""Numbers in text are exact, and hostile ones are refused at once."""

from fractions import Fraction

import pytest

from trackmatte.numbers import parse_fraction


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.6", Fraction(8, 5)),
        ("8/5", Fraction(8, 5)),
        ("0", Fraction(0)),
        (".5", Fraction(1, 2)),
        ("1e-05", Fraction(1, 100_000)),
        ("-0.25", Fraction(-1, 4)),
        ("30000/1001", Fraction(30000, 1001)),
    ],
)
def test_decimals_and_ratios_are_exact(text, value):
    assert parse_fraction(text) == value


@pytest.mark.parametrize("text", ["", "1e999999999", "1e100", "nan", "inf", "1/0", "1_000", "9" * 5000, "1/2/3", "٣"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_fraction(text)
