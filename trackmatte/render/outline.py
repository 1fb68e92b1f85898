"""Outline: a line along the inner side of each object's edge."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from trackmatte.palette import color
from trackmatte.render.cells import box_within, window
from trackmatte.render.color import Color, solid
from trackmatte.render.region import Region
from trackmatte.types import ImageArray, UInt8Array

DEFAULT_THICKNESS = 1 / 240


@dataclass(frozen=True, slots=True)
class Outline:
    """Draws inside the mask, so that touching objects keep a line each and nothing around them changes.

    No line is drawn where the picture's edge cuts an object off.

    Attributes:
        thickness: pixels; None is 1/240 of the picture's short side, at least 1.
        color: of the line; None is each object's palette colour.
    """

    thickness: float | None = None
    color: Color | None = None

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        thickness = self.thickness or max(1, round(min(image.shape[:2]) * DEFAULT_THICKNESS))
        pixels: ImageArray = region.crop(image).copy()
        line = solid(pixels, self.color or color(region.number))
        cv2.copyTo(line, _rim(region, thickness), pixels)
        return pixels


def _rim(region: Region, thickness: float) -> UInt8Array:
    """(h, w) uint8 of the region's box: 1 on the mask's pixels up to `thickness` from one outside it."""
    around = window(region, cell=1, margin=1)
    mask = np.ascontiguousarray(region.mask[around[1] : around[3], around[0] : around[2]])
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    rim = (mask.view(np.bool_) & (depth <= thickness)).view(np.uint8)
    return box_within(rim, around, region)
