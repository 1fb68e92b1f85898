"""From a decoded frame to the picture as displayed: matrix and range undone, square pixels, upright."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import atan2, pi
from typing import cast

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from trackmatte.io.color import SCALE_FLAGS, is_gray, is_rgb, source_matrix, source_range
from trackmatte.io.colortags import RANGES
from trackmatte.types import ClipInfo, ImageArray

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def displayed_size(width: int, height: int, *, pixel_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """The size of a stored picture once its pixels are square and it stands upright.

    Pixels only ever become more: wide pixels widen the picture, tall ones heighten it.

    Returns:
        (W, H) as displayed.
    """
    if pixel_aspect >= 1:
        width = max(1, round(width * pixel_aspect))
    else:
        height = max(1, round(height / pixel_aspect))
    return (height, width) if rotation in (90, 270) else (width, height)


def orientation(matrix: Sequence[int]) -> tuple[int, bool]:
    """What a display matrix does to the picture: quarter turns, and a flip as front cameras write it.

    Args:
        matrix: 9 numbers row by row as FFmpeg has them: a stored point (x, y, 1) times it is the displayed one.

    Returns:
        Clockwise degrees (0, 90, 180 or 270), and whether the turned picture is then flipped left to right.
    """
    a, b, _, c, d = matrix[:5]
    mirrored = a * d - b * c < 0
    return round(2 * atan2(b, -a if mirrored else a) / pi) % 4 * 90, mirrored


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
        self._mirrored = info.mirrored
        self._deep = info.bit_depth > 8
        self._matrix = source_matrix(info.color, width=info.coded_width, height=info.coded_height)
        self._color = info.color
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> ImageArray:
        """Converts one frame.

        Returns:
            (H, W, 3) RGB as displayed, uint8 or uint16, contiguous.
        """
        image = self._rgb(frame)
        if self._turn is not None:
            image = cast(ImageArray, cv2.rotate(image, self._turn))
        if self._mirrored:
            image = image[:, ::-1]
        return cast(ImageArray, np.ascontiguousarray(image))

    def _rgb(self, frame: av.VideoFrame) -> ImageArray:
        width, height = self._size
        limits = source_range(self._color, pixel_format=frame.format.name)
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb48le" if self._deep else "rgb24",
            src_colorspace=self._matrix,
            dst_colorspace=self._matrix,
            src_color_range=RANGES[limits],
            dst_color_range=RANGES["pc"],
            interpolation=SCALE_FLAGS,
        )
        black, white = _levels(frame, limits, deep=self._deep, size=self._size)
        return stretched(cast(ImageArray, converted.to_ndarray()), black=black, white=white)


def stretched(image: ImageArray, *, black: float, white: float) -> ImageArray:
    """Spreads the values from `black` to `white` over the whole range of the image's type."""
    top = float(np.iinfo(image.dtype).max)
    if black == 0 and white == top:
        return image
    gain = top / (white - black)
    return cast(ImageArray, cv2.addWeighted(image, gain, image, 0.0, -black * gain))


def _levels(frame: av.VideoFrame, limits: str, *, deep: bool, size: tuple[int, int]) -> tuple[float, float]:
    """What swscale makes of black and white with the flags used here.

    It leaves the limited range of grey and of RGB as it is. In 16 bits its white is short of 65535: YUV of limited
    range ends at 65283, and other sources at their own highest value shifted up to 16 bits (RGB only when scaled).
    """
    name = frame.format.name
    own = is_gray(name) or is_rgb(name)
    if limits == "tv" and own:
        return (16 << 8, 235 << 8) if deep else (16, 235)
    if not deep:
        return 0, 255
    if limits == "tv":
        return 0, 65283
    if is_rgb(name) and size == (frame.width, frame.height):
        return 0, 65535
    bits = min(16, max(component.bits for component in frame.format.components))
    return 0, float((1 << bits) - 1 << 16 - bits)
