"""Where an effect acts: one region for each object, or one for all that is not an object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import cv2
import numpy as np

from trackmatte.types import BoolArray, ImageArray, ObjectMasks, UInt8Array

SMALLEST_EXTENT = 0.08
BACKGROUND_EXTENT = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The pixels that an effect may change.

    Attributes:
        mask: (H, W) uint8, 1 inside and 0 outside.
        box: (x0, y0, x1, y1), the smallest box around the mask; x1 and y1 are left out.
        number: the object's palette index, from 1; 0 for the background.
        extent: pixels: how large that is which the region shows, for strengths that follow the picture. An object's
            is the side of a square of its area, at least 0.08 of the picture's short side; the background's is
            0.2 of the short side.
    """

    mask: UInt8Array
    box: tuple[int, int, int, int]
    number: int
    extent: float

    def crop(self, image: ImageArray) -> ImageArray:
        """The part of a picture, or of a mask, inside the box: a view."""
        x0, y0, x1, y1 = self.box
        return image[y0:y1, x0:x1]

    def paste(self, pixels: ImageArray, onto: ImageArray) -> None:
        """Writes the box's new pixels (h, w, 3) onto a picture (H, W, 3), inside the mask alone."""
        cv2.copyTo(pixels, self.crop(self.mask), self.crop(onto))


class Change(Protocol):
    """What an effect makes of the pixels of a region."""

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """The region's box as it should look.

        Args:
            image: (H, W, 3) uint8 or uint16; is not changed.
            region: where; what lies in its box but outside its mask is not used.

        Returns:
            (h, w, 3) of the box's size and the picture's dtype.
        """


def object_regions(masks: ObjectMasks) -> Iterator[Region]:
    """One region for each object that is there, in the order of the names; objects with an empty mask have none."""
    for number, mask in enumerate(masks.masks, start=1):
        inside = mask.view(np.uint8)
        box = _box(inside)
        if box is not None:
            extent = max(sqrt(cv2.countNonZero(inside)), SMALLEST_EXTENT * min(mask.shape))
            yield Region(inside, box, number, extent)


def background_region(masks: ObjectMasks) -> Iterator[Region]:
    """One region, all that belongs to no object; the whole picture where no object is there."""
    outside: BoolArray = ~masks.union()
    box = _box(outside.view(np.uint8))
    if box is not None:
        yield Region(outside.view(np.uint8), box, 0, BACKGROUND_EXTENT * min(outside.shape))


def _box(mask: UInt8Array) -> tuple[int, int, int, int] | None:
    x, y, width, height = cv2.boundingRect(mask)
    return (x, y, x + width, y + height) if width else None
