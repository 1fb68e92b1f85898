"""Replace: another picture behind the objects."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from trackmatte.errors import UsageError
from trackmatte.files import open_input
from trackmatte.render.region import Region
from trackmatte.types import ImageArray


@dataclass(eq=False)
class Replace:
    """Shows another picture in the region, scaled to cover the frame and cut evenly at the sides that stand over.

    Its values are taken as they are: nothing is converted to the clip's transfer characteristic.

    Attributes:
        picture: (h, w, 3) uint8 or uint16 RGB.
    """

    picture: ImageArray
    _fitted: ImageArray | None = field(default=None, init=False, repr=False)

    def changed(self, image: ImageArray, region: Region) -> ImageArray:
        """See `Change`."""
        if self._fitted is None or self._fitted.shape != image.shape or self._fitted.dtype != image.dtype:
            self._fitted = cover(self.picture, image)
        return region.crop(self._fitted)


def read_picture(path: str) -> ImageArray:
    """Reads an image file as (h, w, 3) RGB, upright, uint8 or uint16; alpha is left out.

    Raises:
        UsageError: there is no such file, or it is not an image that can be read.
    """
    try:
        with open_input(path) as file:
            data = np.frombuffer(file.read(), np.uint8)
    except OSError as exc:
        raise UsageError(f"replace-background:{path} can't be read ({exc.strerror}); give an image file") from exc
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    if picture is None or picture.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"replace-background:{path} is not an image that can be read; give for example a PNG or JPEG")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def cover(picture: ImageArray, like: ImageArray) -> ImageArray:
    """`picture` (h, w, 3) scaled and cut around its middle to the size (H, W, 3) and dtype of `like`."""
    height, width = like.shape[:2]
    scale = max(height / picture.shape[0], width / picture.shape[1])
    rows = min(picture.shape[0], max(1, round(height / scale)))
    columns = min(picture.shape[1], max(1, round(width / scale)))
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    part = picture[top : top + rows, left : left + columns]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = cv2.resize(part, (width, height), interpolation=interpolation)
    return to_depth(fitted, like)  # type: ignore[arg-type]


def to_depth(picture: ImageArray, like: ImageArray) -> ImageArray:
    """`picture` with the dtype of `like`, 255 in 8 bits being 65535 in 16."""
    if picture.dtype == like.dtype:
        return picture
    wide = picture.astype(np.uint32)
    return (wide * 257).astype(np.uint16) if like.dtype == np.uint16 else ((wide + 128) // 257).astype(np.uint8)
