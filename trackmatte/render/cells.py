"""Square cells over a picture: what lies in a cell becomes one value, and what was finer is gone.

The grid starts at the picture's own corner, so that cells stand still while an object moves through them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from trackmatte.render.region import Region
from trackmatte.types import Float32Array, ImageArray

Window = tuple[int, int, int, int]
AnyImage = TypeVar("AnyImage", bound=npt.NDArray[Any])

OTHER_SIDE = 0.05


def window(region: Region, *, cell: int, margin: int = 0) -> Window:
    """The region's box with a margin, widened to whole cells and cut off at the picture's edges.

    Args:
        region: whose box.
        cell: pixels of a cell's side.
        margin: pixels to add on each side.

    Returns:
        (x0, y0, x1, y1); x0 and y0 lie on the grid.
    """
    x0, y0, x1, y1 = region.box
    height, width = region.mask.shape
    return (
        max(0, x0 - margin) // cell * cell,
        max(0, y0 - margin) // cell * cell,
        min(width, -(-(x1 + margin) // cell) * cell),
        min(height, -(-(y1 + margin) // cell) * cell),
    )


def box_within(pixels: AnyImage, around: Window, region: Region) -> AnyImage:
    """The region's box out of pixels that start where `around` does: a view."""
    x0, y0, x1, y1 = region.box
    return pixels[y0 - around[1] : y1 - around[1], x0 - around[0] : x1 - around[0]]  # type: ignore[return-value]


def cell_means(image: ImageArray, region: Region, around: Window, cell: int) -> tuple[Float32Array, Float32Array]:
    """The cells of a part of the picture, in which the region's pixels weigh 1 and all others 0.05.

    So an object's colours hardly show in the background around it, nor the background's in the object, while a
    cell with few pixels of the region still takes the colours around them rather than give those pixels away.
    Cells that reach over the picture's right or lower edge are filled up with the picture mirrored there.

    Args:
        image: (H, W, 3) uint8 or uint16.
        region: whose pixels count.
        around: (x0, y0, x1, y1) from `window`.
        cell: pixels of a cell's side.

    Returns:
        The sums of the weighted colours over the pixels of a cell (rows, columns, 3), and of the weights
        (rows, columns, 1), both divided by the number of pixels; the mean colour is their quotient.
    """
    x0, y0, x1, y1 = around
    columns, rows = -(-(x1 - x0) // cell), -(-(y1 - y0) // cell)
    missing = (0, rows * cell - (y1 - y0), 0, columns * cell - (x1 - x0))
    part, mask = image[y0:y1, x0:x1], region.mask[y0:y1, x0:x1] * np.uint8(255)
    if any(missing):
        part = cv2.copyMakeBorder(part, *missing, cv2.BORDER_REFLECT)  # type: ignore[assignment]
        mask = cv2.copyMakeBorder(mask, *missing, cv2.BORDER_REFLECT)
    inside = cv2.bitwise_and(part, part, mask=mask)
    whole, own, share = (
        cv2.resize(each, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
        for each in (part, inside, mask)
    )
    color = OTHER_SIDE * whole + (1 - OTHER_SIDE) * own
    weight = OTHER_SIDE + (1 - OTHER_SIDE) / 255 * share[..., None]
    return color, weight


def spread(color: Float32Array, weight: Float32Array, cell: int, *, like: ImageArray, smooth: bool) -> ImageArray:
    """Cells as pixels again: flat squares, or joined smoothly.

    Args:
        color: (rows, columns, 3) weighted colours.
        weight: (rows, columns, 1) their weights.
        cell: pixels of a cell's side.
        like: a picture of the dtype wanted.
        smooth: interpolate between the cells' centres.

    Returns:
        (rows * cell, columns * cell, 3).
    """
    cells: ImageArray = np.rint(np.clip(color / weight, 0, np.iinfo(like.dtype).max)).astype(like.dtype)
    size = (cells.shape[1] * cell, cells.shape[0] * cell)
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return cv2.resize(cells, size, interpolation=interpolation)  # type: ignore[return-value]
