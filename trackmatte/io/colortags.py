"""FFmpeg's names of colour tags and their numbers, and what stands in where a stream has none.

Reading and writing go by the same rules, so that what a stream didn't say comes back as it was.
"""

from __future__ import annotations

from typing import Any

from trackmatte.types import ColorTags

# FFmpeg's numbers (AVColorPrimaries, AVColorTransferCharacteristic, AVColorSpace, AVColorRange) by its names.
PRIMARIES = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9, "smpte428": 10,
    "smpte431": 11, "smpte432": 12, "ebu3213": 22,
}  # fmt: skip
TRANSFERS = {
    "bt709": 1, "gamma22": 4, "gamma28": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8, "log100": 9, "log316": 10,
    "iec61966-2-4": 11, "bt1361e": 12, "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15, "smpte2084": 16,
    "smpte428": 17, "arib-std-b67": 18,
}  # fmt: skip
MATRICES = {
    "gbr": 0, "bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "ycgco": 8, "bt2020nc": 9,
    "bt2020c": 10, "smpte2085": 11, "chroma-derived-nc": 12, "chroma-derived-c": 13, "ictcp": 14,
}  # fmt: skip
RANGES = {"tv": 1, "pc": 2}
UNSPECIFIED = 2  # in PRIMARIES, TRANSFERS and MATRICES; 0 in RANGES

# The matrices that swscale converts with, as its SWS_CS_* numbers.
_SWSCALE = {"bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 5, "smpte240m": 7, "bt2020nc": 9, "bt2020c": 9}


def default_matrix(width: int, height: int) -> str:
    """The matrix of a stream that doesn't name one: BT.709 from 720p on, BT.601 below, as players assume."""
    return "bt709" if width >= 1280 or height >= 720 else "smpte170m"


def swscale_matrix(matrix: str | None, *, width: int, height: int) -> int:
    """swscale's number of a matrix; one that is missing or that it can't convert is taken as the default one."""
    return _SWSCALE.get(matrix or "", _SWSCALE[default_matrix(width, height)])


def set_tags(target: Any, tags: ColorTags) -> None:
    """Tags an encoder or a frame of PyAV."""
    target.color_primaries = PRIMARIES.get(tags.primaries or "", UNSPECIFIED)
    target.color_trc = TRANSFERS.get(tags.transfer or "", UNSPECIFIED)
    target.colorspace = MATRICES.get(tags.matrix or "", UNSPECIFIED)
    target.color_range = RANGES.get(tags.range or "", 0)
