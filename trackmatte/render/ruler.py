"""A ruler along a picture's lower and right edge, and thin lines across the picture where the ruler has numbers.

The ruler lies outside the picture, which keeps its top left corner: where a pixel is in the result is where it is in
the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trackmatte.types import UInt8Array

LEAST_TEXT = 11
_TEXT = 1 / 45
_LINE = 1 / 1080
_APART = 1.7  # from one number to the next, in widths of the longest
_LEAST_TICKS = 4
_GROUND, _INK = 34, 235
_WHITE, _BLACK = 0.35, 0.25  # how much of it a line across the picture has, and how much the one beside it


@dataclass(frozen=True, slots=True)
class Scale:
    """How a picture is measured.

    Attributes:
        zoom: pixels of the result to one of the clip, each way.
        text: size of the numbers in pixels of the result: 1/45 of the picture's shorter side, at least 11.
        line: width of lines and ticks in pixels of the result.
        step: from one number to the next in pixels of the clip: 1, 2 or 5 times a power of ten.
        minor: from one tick to the next in pixels of the clip.
    """

    zoom: int
    text: int
    line: int
    step: int
    minor: int


def choose_scale(width: int, height: int, *, zoom: int = 1) -> Scale:
    """How to measure a clip of width x height pixels that is shown `zoom` times as large."""
    short = min(width, height) * zoom
    text = max(LEAST_TEXT, round(short * _TEXT))
    room = _APART * font(text).getlength(str(max(width, height)))
    step = next(step for step in _steps() if step * zoom >= room)
    parts = next(parts for parts in (10, 5, 2, 1) if step % parts == 0 and step // parts * zoom >= _LEAST_TICKS)
    return Scale(zoom, text, max(1, round(short * _LINE)), step, step // parts)


def _steps() -> Iterator[int]:
    for power in count():
        yield from (10**power, 2 * 10**power, 5 * 10**power)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, of `size` pixels."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


def add_grid(picture: UInt8Array, scale: Scale) -> None:
    """Draws the thin lines into a picture, (H, W, 3), in place: white with black beside it, both faint."""
    for axis in (0, 1):
        across = picture if axis == 0 else picture.swapaxes(0, 1)
        for place in range(scale.step * scale.zoom, len(across), scale.step * scale.zoom):
            _mix(across[place : place + scale.line], 255, _WHITE)
            _mix(across[place + scale.line : place + 2 * scale.line], 0, _BLACK)


def _mix(part: UInt8Array, level: int, share: float) -> None:
    part[:] = np.rint(part * (1 - share) + level * share).astype(np.uint8)


def with_ruler(picture: UInt8Array, scale: Scale) -> UInt8Array:
    """A picture, (H, W, 3), with the ruler below and to its right: a new and larger one."""
    height, width = picture.shape[:2]
    tick, letters = scale.text // 2, font(scale.text)
    right = round(letters.getlength(str(height // scale.zoom))) + 2 * tick
    below = scale.text + 2 * tick
    result = np.full((height + below, width + right, 3), _GROUND, np.uint8)
    result[:height, :width] = picture
    for length, columns in ((width, True), (height, False)):
        for number in range(0, length // scale.zoom, scale.minor):
            long = tick if number % scale.step == 0 else max(2, tick // 2)
            a, b = number * scale.zoom, number * scale.zoom + scale.line
            if columns:
                result[height : height + long, a:b] = _INK
            else:
                result[a:b, width : width + long] = _INK
    image = Image.fromarray(result)
    draw = ImageDraw.Draw(image)
    for number in range(0, width // scale.zoom, scale.step):
        place, half = number * scale.zoom + scale.line / 2, letters.getlength(str(number)) / 2
        draw.text((max(place, half), height + 1.2 * tick), str(number), (_INK,) * 3, letters, anchor="mt")
    for number in range(0, height // scale.zoom, scale.step):
        place = max(number * scale.zoom + scale.line / 2, scale.text / 2)
        draw.text((width + 1.3 * tick, place), str(number), (_INK,) * 3, letters, anchor="lm")
    return np.asarray(image)
