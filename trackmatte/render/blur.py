"""Blur: the region's detail gone, its edge sharp."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import cv2
import numpy as np

from trackmatte.render.cells import average, spread, window
from trackmatte.render.region import Region
from trackmatte.types import ImageArray

DETAIL = 1 / 8
OTHER_SIDE = 0.05


@dataclass(frozen=True, slots=True)
class Blur:
    """A Gaussian blur of the region.

    The picture is averaged into cells of two to three pixels in five of the radius before it is blurred, so that
    fine detail is not merely faint in the result but absent. What lies outside the region weighs 0.05 of what
    lies inside: an object leaves no halo in a blurred background and its blurred silhouette stays clean, while a
    region of a few pixels still takes the colours around it rather than keep its own.

    Attributes:
        radius: standard deviation in pixels; None is an eighth of the region's extent: 27 for the background of
            a picture 1080 high, and a sixth of its width for a face that is tracked alone.
    """

    radius: float | None = None

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        radius = min(self.radius or region.extent * DETAIL, max(image.shape[:2]))
        cell = max(1, round(radius / 2))
        around = window(region.box, image.shape, cell=cell, margin=ceil(3 * radius))
        part = np.s_[around[1] : around[3], around[0] : around[2]]
        cells = _blurred_cells(image[part], region.mask[part], radius=radius, cell=cell)
        wide = spread(cells, cell, smooth=True) if cell > 1 else cells
        left, top = region.box[0] - around[0], region.box[1] - around[1]
        return wide[top:, left:][: region.box[3] - region.box[1], : region.box[2] - region.box[0]]


def _blurred_cells(image: ImageArray, mask: ImageArray, *, radius: float, cell: int) -> ImageArray:
    """The means of cells, blurred with the mask's pixels weighing more than the others.

    Averaging over a cell and joining cells again blur by a quarter of cell² themselves, which is taken off.
    """
    inside = average(cv2.bitwise_and(image, image, mask=mask), cell).astype(np.float32)  # type: ignore[arg-type]
    whole = average(image, cell).astype(np.float32)
    share = average(mask * np.uint8(255), cell).astype(np.float32)[..., None] / 255
    color = OTHER_SIDE * whole + (1 - OTHER_SIDE) * inside
    weight = OTHER_SIDE + (1 - OTHER_SIDE) * share
    sigma = sqrt(max((radius / cell) ** 2 - (0.25 if cell > 1 else 0), 0.01))
    blurred = cv2.GaussianBlur(np.concatenate([color, weight], axis=2), (0, 0), sigma)
    limit = np.iinfo(image.dtype).max
    cells: ImageArray = np.rint(np.clip(blurred[..., :3] / blurred[..., 3:], 0, limit)).astype(image.dtype)
    return cells
