"""Square cells over a picture: what lies in a cell becomes one value, and what was finer is gone.

The grid starts at the picture's own corner, so that cells stand still while an object moves through them.
"""

from __future__ import annotations

import cv2

from trackmatte.types import ImageArray

Window = tuple[int, int, int, int]


def window(box: Window, shape: tuple[int, ...], *, cell: int, margin: int = 0) -> Window:
    """The box with a margin, widened to whole cells and cut off at the picture's edges.

    Args:
        box: (x0, y0, x1, y1).
        shape: (H, W, ...) of the picture.
        cell: pixels of a cell's side.
        margin: pixels to add on each side.

    Returns:
        (x0, y0, x1, y1); x0 and y0 lie on the grid.
    """
    x0, y0, x1, y1 = box
    return (
        max(0, x0 - margin) // cell * cell,
        max(0, y0 - margin) // cell * cell,
        min(shape[1], -(-(x1 + margin) // cell) * cell),
        min(shape[0], -(-(y1 + margin) // cell) * cell),
    )


def average(image: ImageArray, cell: int) -> ImageArray:
    """The mean of each cell: (h, w, ...) to (ceil(h / cell), ceil(w / cell), ...), same dtype.

    Cells that reach over the right or lower edge are filled up with the picture mirrored there.
    """
    height, width = image.shape[:2]
    rows, columns = -(-height // cell), -(-width // cell)
    below, right = rows * cell - height, columns * cell - width
    if below or right:
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT)  # type: ignore[assignment]
    return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def spread(cells: ImageArray, cell: int, *, smooth: bool) -> ImageArray:
    """The inverse of `average` as far as there is one: cells as flat squares, or joined smoothly."""
    size = (cells.shape[1] * cell, cells.shape[0] * cell)
    return cv2.resize(  # type: ignore[return-value]
        cells, size, interpolation=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    )
