"""Which YUV matrix and range the numbers of a source follow.

A stream that does not say its matrix is taken as players take it: BT.709 from 1280 columns or 720 rows on, BT.601
below. One that does not say its range is limited (`tv`), except RGB, grey and the `yuvj` formats, which are full
(`pc`). Writing uses the same rules, so that what was not said comes back as it was.
"""

from __future__ import annotations

from trackmatte.errors import InputError
from trackmatte.io.colortags import MATRICES, PRIMARIES, RANGES, TRANSFERS, swscale_matrix
from trackmatte.types import ColorTags

# swscale's flags for exact conversion: bicubic (4), full chroma on both sides (0x2000, 0x4000), accurate rounding
# (0x40000). Without them luma alone is off by 1 on average after RGB and back; with them it returns as it was.
SCALE_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000

_READABLE = ("bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc", "bt2020c")
_RGB = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8")
_GRAY = ("gray", "ya8", "ya16", "mono")


def tags_from_codes(*, primaries: int, transfer: int, matrix: int, range: int, pixel_format: str) -> ColorTags:
    """Names FFmpeg's numbers of a stream's tags; unknown and unspecified ones become None.

    RGB always has the matrix `gbr` and, where it says no range, the full one.
    """
    rgb = is_rgb(pixel_format)
    return ColorTags(
        primaries=_name(PRIMARIES, primaries),
        transfer=_name(TRANSFERS, transfer),
        matrix="gbr" if rgb else _name(MATRICES, matrix),
        range=_name(RANGES, range) or ("pc" if rgb or pixel_format.startswith("yuvj") else None),
    )


def is_rgb(pixel_format: str) -> bool:
    """Whether a pixel format holds RGB (or indices of RGB) and so has no YUV matrix."""
    return pixel_format.startswith(_RGB)


def is_gray(pixel_format: str) -> bool:
    """Whether a pixel format holds grey alone, with or without alpha."""
    return pixel_format.startswith(_GRAY)


def source_matrix(color: ColorTags, *, width: int, height: int) -> int:
    """swscale's number of the matrix that a stream's numbers follow; its stored size is W x H.

    Raises:
        InputError: the stream names a matrix that can't be converted.
    """
    if color.matrix not in (None, "gbr", *_READABLE):
        raise InputError(
            f"the colour matrix {color.matrix} can't be read, only {', '.join(_READABLE)}; convert the clip first"
        )
    return swscale_matrix(color.matrix, width=width, height=height)


def source_range(color: ColorTags, *, pixel_format: str) -> str:
    """The range that a stream's numbers cover: `tv` or `pc`."""
    if color.range is not None:
        return color.range
    return "pc" if pixel_format.startswith("yuvj") or is_rgb(pixel_format) or is_gray(pixel_format) else "tv"


def _name(table: dict[str, int], code: int) -> str | None:
    return next((name for name, value in table.items() if value == code), None)
