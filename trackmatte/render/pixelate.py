"""Pixelate: flat square blocks."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from trackmatte.render.cells import box_within, cell_means, spread, window
from trackmatte.render.region import Region
from trackmatte.types import ImageArray

DETAIL = 1 / 8


@dataclass(frozen=True, slots=True)
class Pixelate:
    """Each block shows its mean colour and is cut off at the region's edge.

    Attributes:
        block: pixels of a block's side; None is the power of two at or above an eighth of the region's extent, at
            least 2, so that blocks seldom change their size while an object grows.
    """

    block: int | None = None

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        block = min(self.block or _default_block(region.extent), max(image.shape[:2]))
        around = window(region, cell=block)
        color, weight = cell_means(image, region, around, block)
        return box_within(spread(color, weight, block, like=image, smooth=False), around, region)


def _default_block(extent: float) -> int:
    return int(2 ** max(1, ceil(log2(extent * DETAIL))))
