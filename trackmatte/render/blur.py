"""Blur: the region's detail gone, its edge sharp."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import cv2

from trackmatte.render.cells import box_within, cell_means, spread, window
from trackmatte.render.region import Region
from trackmatte.types import ImageArray

DETAIL = 1 / 8


@dataclass(frozen=True, slots=True)
class Blur:
    """A Gaussian blur of the region.

    The picture is averaged into cells of half the radius before it is blurred, so that fine detail is not merely
    faint in the result but absent.

    Attributes:
        radius: standard deviation in pixels; None is an eighth of the region's extent: 27 for the background of
            a picture 1080 high, and about a seventh of its width for a face that is tracked alone.
    """

    radius: float | None = None

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        radius = min(self.radius or region.extent * DETAIL, max(image.shape[:2]))
        cell = max(1, round(radius / 2))
        around = window(region, cell=cell, margin=ceil(3 * radius))
        color, weight = cell_means(image, region, around, cell)
        sigma = _sigma_of_cells(radius, cell)
        color = cv2.GaussianBlur(color, (0, 0), sigma)  # type: ignore[assignment]
        weight = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]  # type: ignore[assignment]
        return box_within(spread(color, weight, cell, like=image, smooth=True), around, region)


def _sigma_of_cells(radius: float, cell: int) -> float:
    """Standard deviation in cells; averaging over a cell and joining cells again blur by cell² / 4 themselves."""
    return sqrt((radius / cell) ** 2 - (0.25 if cell > 1 else 0))
