"""Plain colours at a picture's own depth."""

from __future__ import annotations

import numpy as np

from trackmatte.types import ImageArray

Color = tuple[int, int, int]


def solid(like: ImageArray, color: Color) -> ImageArray:
    """A picture of one colour, of the shape (h, w, 3) and dtype of `like`.

    `color` is (red, green, blue) in 0..255; in 16 bits 255 is 65535.
    """
    plain = np.empty(like.shape, like.dtype)
    row = np.empty(like.shape[1:], like.dtype)
    row[:] = np.asarray(color, like.dtype) * (1 if like.dtype == np.uint8 else 257)
    plain[:] = row
    return plain
