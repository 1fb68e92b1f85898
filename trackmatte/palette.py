"""The palette of DAVIS and PASCAL VOC: a fixed colour for each object index, 0 black for the background."""

from __future__ import annotations

from functools import cache


def color(index: int) -> tuple[int, int, int]:
    """The (red, green, blue) in 0..255 of an object index; indices from 256 on start again at 1.

    The bits of the index are dealt out to the channels in turn, three at a time, filling each channel from its
    highest bit down, so that neighbouring indices look different.
    """
    if index > 255:
        index = (index - 1) % 255 + 1
    red = green = blue = 0
    for bit in range(7, -1, -1):
        red |= (index & 1) << bit
        green |= (index >> 1 & 1) << bit
        blue |= (index >> 2 & 1) << bit
        index >>= 3
    return red, green, blue


@cache
def davis_palette() -> bytes:
    """All 256 colours as 768 bytes, red, green, blue in turn: what an indexed PNG stores."""
    return bytes(value for index in range(256) for value in color(index))
