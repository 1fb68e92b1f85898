"""Fill: one plain colour."""

from __future__ import annotations

from dataclasses import dataclass

from trackmatte.render.color import Color, solid
from trackmatte.render.region import Region
from trackmatte.types import ImageArray


@dataclass(frozen=True, slots=True)
class Fill:
    """Paints the region; `color` is (red, green, blue) in 0..255."""

    color: Color = (0, 0, 0)

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        return solid(region.crop(image), self.color)
