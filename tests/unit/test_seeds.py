"""Seeds as the command line writes them."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trackmatte.errors import PromptError
from trackmatte.palette import davis_palette
from trackmatte.seeds import parse_box, parse_mask, parse_point, parse_time
from trackmatte.types import Box, Point

PIXELS = np.zeros((5, 7), np.uint8)
PIXELS[1, 1:4], PIXELS[3, 2:6] = 1, 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with an indexed mask of two objects."""
    image = Image.fromarray(PIXELS)
    image.putpalette(davis_palette())
    image.save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("640,360", Point(640, 360)),
        (" 1.5 , .25", Point(1.5, 0.25)),
        ("ball=0,0", Point(0, 0, name="ball")),
        ("ball@48=12.5,80", Point(12.5, 80, name="ball", frame=48)),
        ("the red ball@1.6s=1,2", Point(1, 2, name="the red ball", seconds=Fraction(8, 5))),
        ("7@0=1,2", Point(1, 2, name="7", frame=0)),
        ("küche@0.1s=1,2", Point(1, 2, name="küche", seconds=Fraction(1, 10))),
    ],
)
def test_points(text, point):
    assert parse_point(text) == point
    assert parse_point(text, positive=False).positive is False


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,90,80", Box(10, 20, 90, 80)),
        ("ball@48=1.5,2,3,4", Box(1.5, 2, 3, 4, name="ball", frame=48)),
        ("-5,-0.5,80,90", Box(-5, -0.5, 80, 90)),
    ],
)
def test_boxes(text, box):
    assert parse_box(text) == box


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1,2,3", "a,b", "nan,1", "inf,1", "1e3,2", "1_0,2", "\u0661,\u0662", "1;2", "-1,5", "1,-0.5", "ball=",
        "=1,2", "@3=1,2", "ball@=1,2", "ball@x=1,2", "ball@-1=1,2", "ball@1.5=1,2", "ball@1@2=1,2", "a=b=1,2",
    ],
)  # fmt: skip
def test_a_point_of_another_form_says_which_is_expected(text):
    with pytest.raises(PromptError) as caught:
        parse_point(text)
    assert "[NAME[@TIME]=]X,Y" in str(caught.value) or "a frame index (48) or seconds (1.6s)" in str(caught.value)


def test_a_negative_coordinate_is_called_outside():
    with pytest.raises(PromptError, match="outside the picture"):
        parse_point("ball=-4,10")


@pytest.mark.parametrize(
    "text", ["1,2", "1,2,3,4,5", "5,2,3,4", "1,2,1,4", "1,4,3,4", "1,4,3,2", "1,2,nan,4", "ball=1,2,3"]
)
def test_a_box_of_another_form_says_which_is_expected(text):
    with pytest.raises(PromptError, match="X0,Y0,X1,Y1 with X1 > X0"):
        parse_box(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0", (0, None)),
        ("48", (48, None)),
        ("1.6s", (None, Fraction(8, 5))),
        ("0s", (None, Fraction(0))),
        (".5s", (None, Fraction(1, 2))),
        ("3.s", (None, Fraction(3))),
    ],
)
def test_times(text, time):
    assert parse_time(text) == time


@pytest.mark.parametrize(
    "text",
    ["", "s", "1.6", "-1", "-1s", "nans", "1e3s", "1/2s", "1 s", "1S", "\u0663", "1.2.3s", "9" * 5000, "9" * 30 + "s"],
)
def test_another_time_is_refused(text):
    with pytest.raises(PromptError, match="frame index"):
        parse_time(text)


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_seconds_are_exact(value):
    assert parse_time(f"{value}s") == (None, Fraction(value))


def test_an_indexed_mask_seeds_an_object_for_each_index(folder):
    found = parse_mask("mask.png")
    assert [prompt.name for prompt in found] == ["1", "2"]
    assert np.array_equal(found[1].mask, PIXELS == 2)
    assert {(prompt.frame, prompt.seconds) for prompt in found} == {(None, None)}


def test_with_a_name_it_is_one_object(folder):
    (found,) = parse_mask("cat@1.6s=mask.png")
    assert (found.name, found.seconds) == ("cat", Fraction(8, 5))
    assert np.array_equal(found.mask, PIXELS > 0)


def test_a_plain_mask_without_a_name_is_object_1(folder):
    Image.fromarray(PIXELS * 100).save("grey.png")
    (found,) = parse_mask("grey.png")
    assert found.name == "1"
    assert np.array_equal(found.mask, PIXELS > 0)


@pytest.mark.parametrize("name", ["cat=mask.png", "a@b=c.png", "x@3.png"])
def test_a_file_of_the_whole_text_comes_first(folder, name):
    (folder / name).write_bytes((folder / "mask.png").read_bytes())
    assert [prompt.name for prompt in parse_mask(name)] == ["1", "2"]


def test_what_follows_the_first_equals_sign_is_the_file(folder):
    (folder / "a=b@3.png").write_bytes((folder / "mask.png").read_bytes())
    (found,) = parse_mask("cat@4=a=b@3.png")
    assert (found.name, found.frame) == ("cat", 4)


@pytest.mark.parametrize("text", ["", "cat=", "=mask.png", "@1=mask.png", "cat@soon=mask.png"])
def test_a_mask_of_another_form_says_which_is_expected(folder, text):
    with pytest.raises(PromptError, match=r"\[NAME\[@TIME\]=\]FILE|frame index"):
        parse_mask(text)


@pytest.mark.parametrize("text", ["nowhere.png", "cat=nowhere.png", "cat=" + "x" * 5000])
def test_a_file_that_is_not_there(folder, text):
    with pytest.raises(PromptError, match="can't be used"):
        parse_mask(text)


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\u2028b", "\udcff", "\u202etxt", "n" * 201])
def test_a_name_that_can_not_be_shown_is_refused(name):
    with pytest.raises(PromptError, match=r"control characters|200 bytes") as caught:
        parse_point(f"{name}=1,2")
    assert str(caught.value).isprintable()
