"""Overlay: each object tinted in its palette colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from trackmatte.palette import color
from trackmatte.render.color import solid
from trackmatte.render.region import Region
from trackmatte.types import ImageArray


@dataclass(frozen=True, slots=True)
class Overlay:
    """Mixes the object's colour in; `opacity` 0 shows the picture alone and 1 the colour alone."""

    opacity: float = 0.5

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        pixels = region.crop(image)
        tint = solid(pixels, color(region.number))
        return cv2.addWeighted(pixels, 1 - self.opacity, tint, self.opacity, 0)  # type: ignore[return-value]
