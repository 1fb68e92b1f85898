"""Seeds as the command line writes them: `[NAME[@TIME]=]` and then a point, a box or an image file.

NAME is any text without `=` and `@`, by default "1". TIME is a frame index (`48`) or seconds (`1.6s`); without it
the seed belongs to the first frame that is tracked. What stands before the first `=` is NAME and TIME, except that
a mask whose whole text is the name of a file that exists is that file.
"""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction
from os.path import isfile
from typing import Any

from trackmatte.errors import PromptError
from trackmatte.io.prompts import mask_prompts
from trackmatte.names import check_name
from trackmatte.numbers import parse_fraction
from trackmatte.types import Box, Point, Prompt

POINT_FORM = "[NAME[@TIME]=]X,Y, for example 640,360 or ball@48=12.5,80"
BOX_FORM = "[NAME[@TIME]=]X0,Y0,X1,Y1 with X1 > X0 and Y1 > Y0, for example 10,20,90,80 or ball@1.6s=10,20,90,80"
MASK_FORM = "[NAME[@TIME]=]FILE, for example mask.png or ball@48=mask.png"
TIME_FORM = "a frame index (48) or seconds (1.6s)"

_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


def parse_point(text: str, *, positive: bool = True) -> Point:
    """The click that `[NAME[@TIME]=]X,Y` describes.

    Raises:
        PromptError: the text is of another form, or a coordinate is negative.
    """
    at, rest = _split(text, POINT_FORM)
    x, y = _numbers(rest, 2, text, POINT_FORM)
    if x < 0 or y < 0:
        raise PromptError(f"seed {text!r} lies outside the picture: coordinates start at 0; give {POINT_FORM}")
    return Point(x, y, positive=positive, **at)


def parse_box(text: str) -> Box:
    """The box that `[NAME[@TIME]=]X0,Y0,X1,Y1` describes; it may reach over the picture's edges, left of 0 too.

    Raises:
        PromptError: the text is of another form, or the box is empty.
    """
    at, rest = _split(text, BOX_FORM)
    x0, y0, x1, y1 = _numbers(rest, 4, text, BOX_FORM)
    if x1 <= x0 or y1 <= y0:
        raise _unusable("box", text, BOX_FORM)
    return Box(x0, y0, x1, y1, **at)


def parse_mask(text: str) -> list[Prompt]:
    """The masks that `[NAME[@TIME]=]FILE` describes: without NAME, an image of labels gives one for each.

    Raises:
        PromptError: the text is of another form, or the file is no image, or its mask is empty.
    """
    at, file = ({"name": "1"}, text) if isfile(text) else _split(text, MASK_FORM)
    if not file:
        raise _unusable("mask", text, MASK_FORM)
    return mask_prompts(file, at, named=file != text)


def parse_time(text: str) -> tuple[int | None, Fraction | None]:
    """A time as (frame index, None) or (None, seconds), exact.

    Raises:
        PromptError: it is neither a whole number from 0 nor a decimal number from 0 with an `s`.
    """
    if text.endswith("s") and _DECIMAL.fullmatch(text[:-1]):
        with contextlib.suppress(ValueError):  # more digits than any time has
            return None, parse_fraction(text[:-1])
    if re.fullmatch("[0-9]{1,12}", text):
        return int(text), None
    raise PromptError(f"time {text!r} can't be used; give {TIME_FORM}")


def _split(text: str, form: str) -> tuple[dict[str, Any], str]:
    """The fields of `At` and what follows the `=`. Raises PromptError."""
    head, equals, rest = text.partition("=")
    if not equals:
        return {"name": "1"}, text
    name, at, time = head.partition("@")
    if not name:
        raise PromptError(f"seed {text!r} has no name before {'@' if at else '='}; give {form}")
    frame, seconds = parse_time(time) if at else (None, None)
    return {"name": check_name(name), "frame": frame, "seconds": seconds}, rest


def _numbers(rest: str, count: int, text: str, form: str) -> list[float]:
    """The numbers between commas. Raises PromptError."""
    values = [value.strip() for value in rest.split(",")]
    if len(values) != count or not all(_DECIMAL.fullmatch(value.removeprefix("-")) for value in values):
        raise _unusable("seed", text, form)
    return [float(value) for value in values]


def _unusable(what: str, text: str, form: str) -> PromptError:
    return PromptError(f"{what} {text!r} can't be used; give {form}")
