"""Colour tags by name, and which YUV matrix and range a stream's numbers follow.

A stream that does not say its matrix is taken as players take it: BT.709 from 1280 columns or 577 rows on, BT.601
below. One that does not say its range is limited (`tv`), except RGB, grey and the `yuvj` formats, which are full
(`pc`). Reading and writing use the same rules, so that what was not said comes back as it was.
"""

from __future__ import annotations

from trackmatte.errors import InputError
from trackmatte.types import ColorTags

# FFmpeg's numbers (AVColorSpace, AVColorPrimaries, AVColorTransferCharacteristic, AVColorRange) by its names.
MATRICES = {
    "gbr": 0, "bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "ycgco": 8, "bt2020nc": 9,
    "bt2020c": 10, "smpte2085": 11, "chroma-derived-nc": 12, "chroma-derived-c": 13, "ictcp": 14,
}  # fmt: skip
PRIMARIES = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9, "smpte428": 10,
    "smpte431": 11, "smpte432": 12, "ebu3213": 22,
}  # fmt: skip
TRANSFERS = {
    "bt709": 1, "gamma22": 4, "gamma28": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8, "log100": 9, "log316": 10,
    "iec61966-2-4": 11, "bt1361e": 12, "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15, "smpte2084": 16,
    "smpte428": 17, "arib-std-b67": 18,
}  # fmt: skip
RANGES = {"tv": 1, "pc": 2}
_UNSPECIFIED = 2  # of matrix, primaries and transfer; 0 of the range

# swscale's numbers of the matrices that it converts.
SCALE_MATRICES = {
    "bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 5, "smpte240m": 7, "bt2020nc": 9, "bt2020c": 9, "gbr": 1,
}  # fmt: skip

# swscale's flags for exact conversion: bicubic (4), full chroma on both sides (0x2000, 0x4000), accurate rounding
# (0x40000). Without them luma alone is off by 1 on average after RGB and back; with them it returns as it was.
SCALE_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000


def tags_from_codes(*, primaries: int, transfer: int, matrix: int, range: int) -> ColorTags:
    """Names FFmpeg's numbers; unknown and unspecified ones become None."""
    return ColorTags(
        primaries=_name(PRIMARIES, primaries),
        transfer=_name(TRANSFERS, transfer),
        matrix=_name(MATRICES, matrix),
        range=_name(RANGES, range),
    )


def tag_codes(color: ColorTags) -> tuple[int, int, int, int]:
    """FFmpeg's numbers of (primaries, transfer, matrix, range); unspecified ones as FFmpeg numbers them."""
    return (
        PRIMARIES.get(color.primaries or "", _UNSPECIFIED),
        TRANSFERS.get(color.transfer or "", _UNSPECIFIED),
        MATRICES.get(color.matrix or "", _UNSPECIFIED),
        RANGES.get(color.range or "", 0),
    )


def is_rgb(pixel_format: str) -> bool:
    """Whether a pixel format holds RGB (or indices of RGB) and so has no YUV matrix."""
    return pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8"))


def is_gray(pixel_format: str) -> bool:
    """Whether a pixel format holds grey alone, with or without alpha."""
    return pixel_format.startswith(("gray", "ya8", "ya16", "mono"))


def matrix_of(color: ColorTags, *, width: int, height: int) -> str:
    """The YUV matrix that a stream's numbers follow.

    Args:
        color: the stream's tags.
        width: columns as stored.
        height: rows as stored.

    Returns:
        A name in `SCALE_MATRICES`.

    Raises:
        InputError: the stream names a matrix that can't be converted.
    """
    if color.matrix is None:
        return "bt709" if width >= 1280 or height > 576 else "smpte170m"
    if color.matrix not in SCALE_MATRICES:
        known = ", ".join(name for name in SCALE_MATRICES if name != "gbr")
        raise InputError(f"the colour matrix {color.matrix} can't be read (only {known}); convert the clip first")
    return color.matrix


def range_of(color: ColorTags, *, pixel_format: str) -> str:
    """The range that a stream's numbers cover: `tv` or `pc`."""
    if color.range is not None:
        return color.range
    return "pc" if pixel_format.startswith("yuvj") or is_rgb(pixel_format) or is_gray(pixel_format) else "tv"


def _name(table: dict[str, int], code: int) -> str | None:
    return next((name for name, value in table.items() if value == code), None)
