"""8-bit YUV of full range with neutral where it belongs.

swscale takes neutral chroma to the middle of the range, 127.5, where it is 128: half a level too low everywhere. Its
own reading has it right, so that each copy of a clip would drift. Here the picture is made with 10 bits, moved, and
rounded to 8: luma and chroma then come back as they were. (With 10 bits wanted, half a level is a quarter of that.)
"""

from __future__ import annotations

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from trackmatte.types import ImageArray

_CHROMA = (1, 2)
_SCALE = 255 / 1023


def rounded(deep: VideoFrame, pixel_format: str) -> VideoFrame:
    """A picture of full range and 10 bits (`yuv420p10le`, ...) with 8 bits (`yuv420p`, ...), neutral chroma at 128."""
    result = VideoFrame(deep.width, deep.height, pixel_format)
    for index, (source, target) in enumerate(zip(deep.planes, result.planes, strict=True)):
        half = 0.5 if index in _CHROMA else 0.0
        _pixels(target, np.uint8)[:] = cv2.convertScaleAbs(_pixels(source, np.uint16), alpha=_SCALE, beta=half)
    return result


def _pixels(plane: VideoPlane, dtype: type[np.uint8] | type[np.uint16]) -> ImageArray:
    """(h, w) view of a plane's memory."""
    rows: ImageArray = np.frombuffer(plane, dtype).reshape(plane.height, -1)  # type: ignore[call-overload]
    return rows[:, : plane.width]
