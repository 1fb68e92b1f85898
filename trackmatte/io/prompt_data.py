"""Prompts as JSON data, as the header of native tracks keeps them.

A prompt has a `type`, what that type says, the object's `name`, and `frame` or `seconds` where it was given:

```
{"type": "point", "x": 640, "y": 360, "positive": true, "name": "1"}
{"type": "box", "x0": 10, "y0": 20, "x1": 90, "y1": 80, "name": "ball", "frame": 48}
{"type": "mask", "rle": {"size": [H, W], "counts": "..."}, "name": "ball", "seconds": "8/5"}
```
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from trackmatte.io.rle import decode_mask, encode_masks
from trackmatte.types import Box, Mask, Point, Prompt


def prompt_to_data(prompt: Prompt) -> dict[str, Any]:
    """A prompt as JSON data; `prompt_from_data` gives it back."""
    value: dict[str, Any]
    if isinstance(prompt, Point):
        value = {"type": "point", "x": prompt.x, "y": prompt.y, "positive": prompt.positive}
    elif isinstance(prompt, Box):
        value = {"type": "box", "x0": prompt.x0, "y0": prompt.y0, "x1": prompt.x1, "y1": prompt.y1}
    else:
        value = {"type": "mask", "rle": encode_masks(np.asarray(prompt.mask, np.bool_)[None])[0]}
    value["name"] = prompt.name
    if prompt.frame is not None:
        value["frame"] = prompt.frame
    if prompt.seconds is not None:
        value["seconds"] = str(prompt.seconds)
    return value


def prompt_from_data(value: Any) -> Prompt:
    """The prompt that JSON data tell.

    Raises:
        KeyError, TypeError, ValueError, ZeroDivisionError: the data are no prompt.
    """
    frame, seconds = value.get("frame"), value.get("seconds")
    if frame is not None and type(frame) is not int:
        raise TypeError(f"frame is {frame!r}, an integer was expected")
    at: dict[str, Any] = {
        "name": str(value["name"]),
        "frame": frame,
        "seconds": None if seconds is None else Fraction(seconds),
    }
    kind = value["type"]
    if kind == "point":
        return Point(x=_number(value["x"]), y=_number(value["y"]), positive=bool(value["positive"]), **at)
    if kind == "box":
        x0, y0, x1, y1 = (_number(value[key]) for key in ("x0", "y0", "x1", "y1"))
        return Box(x0=x0, y0=y0, x1=x1, y1=y1, **at)
    if kind == "mask":
        return Mask(mask=decode_mask(value["rle"]), **at)
    raise ValueError(f"type is {kind!r}; point, box or mask was expected")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return value
