"""Grayscale: the region without its colours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from trackmatte.render.region import Region
from trackmatte.types import ImageArray


@dataclass(frozen=True, slots=True)
class Grayscale:
    """Shows the luma 0.299 R + 0.587 G + 0.114 B."""

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        luma = cv2.cvtColor(region.crop(image), cv2.COLOR_RGB2GRAY)
        return cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]
