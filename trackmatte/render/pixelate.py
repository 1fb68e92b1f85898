"""Pixelate: flat square blocks."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

from trackmatte.render.cells import average, spread, window
from trackmatte.render.region import Region
from trackmatte.types import ImageArray

DETAIL = 1 / 8


@dataclass(frozen=True, slots=True)
class Pixelate:
    """Each block shows the mean of all its pixels, also of those outside the region, and is cut at the edge.

    Attributes:
        block: pixels of a block's side; None is the power of two at or above an eighth of the region's extent, at
            least 2, so that blocks seldom change their size while an object grows.
    """

    block: int | None = None

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        block = min(self.block or _default_block(region.extent), max(image.shape[:2]))
        around = window(region.box, image.shape, cell=block)
        part = image[around[1] : around[3], around[0] : around[2]]
        wide = spread(average(part, block), block, smooth=False)
        left, top = region.box[0] - around[0], region.box[1] - around[1]
        return wide[top:, left:][: region.box[3] - region.box[1], : region.box[2] - region.box[0]]


def _default_block(extent: float) -> int:
    return int(2 ** max(1, ceil(log2(extent * DETAIL))))
