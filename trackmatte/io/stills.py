"""Image files of any depth as arrays, for clips, masks and evaluation alike.

Pillow reads what has 8 bits, OpenCV what has more: integers of 16, 32 and 64 bits and floats, grey or colour, as PNG,
TIFF or PNM. Pictures come upright. Of a file with several pages the first is read. An image of more than
`MAX_PIXELS` is refused before any of it is decoded.

What a stored number means, black being 0 and values below it black too, is one rule:

- 8 and 16 bits without sign: white is 255 and 65535.
- Float: white is 1, and brighter values are clipped. Only where the brightest value is above 32, which no picture of
  0..1 comes to, white is 255, and where it is above 512, 65535.
- Integers with a sign or of more than 16 bits: white is the smallest of 255, 65535, 4294967295 and the type's highest
  value that the brightest value doesn't exceed.

Values are taken as they are; nothing is converted from linear light.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from trackmatte.files import MAX_PIXELS, open_input
from trackmatte.types import ImageArray, UInt8Array

Pixels = npt.NDArray[Any]
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_LOSSY = ("JPEG", "MPO")
_FLOAT_WHITES = ((32, 1.0), (512, 255.0))  # the brightest value up to which each is white
_ORIENTATION, _PHOTOMETRIC = 274, 262
_SIDEWAYS = (5, 6, 7, 8)
_READ_ERRORS = (SyntaxError, ValueError, EOFError, KeyError, TypeError, struct.error, cv2.error, MemoryError)


class UnreadableImage(Exception):
    """An image file can't be read; the argument says why, in a few words."""


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """The pixels of an image file, upright.

    Attributes:
        pixels: (H, W) grey or (H, W, 3) RGB of the stored type, or (H, W) uint8 indices where there is a palette.
        alpha: (H, W) of the same type; None where there is no alpha channel.
        palette: (256, 4) uint8, the red, green, blue and alpha of each index, unused ones black; None where the image
            is not indexed.
        colors: how many entries of the palette the file declares.
        lossy: a JPEG, whose black is never quite 0.
        pages: how many pages or frames the file has.
        turned: rows were stored as columns.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    palette: UInt8Array | None = None
    colors: int = 0
    lossy: bool = False
    pages: int = 1
    turned: bool = False


def read_still(path: str | Path) -> Still:
    """Reads an image file.

    Raises:
        UnreadableImage: it is missing, may not be read, is too large, is no image, or of a kind that nothing reads.
    """
    try:
        with open_input(path) as file:
            return _read(file)
    except UnreadableImage:
        raise
    except OSError as exc:  # Pillow's own have no number
        raise UnreadableImage(exc.strerror.lower() if exc.strerror else "not an image, or damaged") from exc
    except Image.DecompressionBombError as exc:
        raise UnreadableImage(f"it has more than {MAX_PIXELS} pixels, the most that is read") from exc
    except _READ_ERRORS as exc:
        raise UnreadableImage("not an image, or damaged") from exc


def _read(file: BinaryIO) -> Still:
    tags = _tiff_tags(file)
    try:
        image: Image.Image = Image.open(file)
    except UnidentifiedImageError:
        if tags is None:
            raise
        still = _deep(file, tags=tags)  # of a depth that Pillow doesn't know
        return replace(still, turned=tags.get(_ORIENTATION, 1) in _SIDEWAYS)
    with image:
        _check_size(*image.size)
        deep = image.mode in _DEEP_MODES or _has_16_bits(image)  # before EXIF is read, which may decode the image
        pages = getattr(image, "n_frames", 1)
        turn = image.getexif().get(_ORIENTATION, 1) if tags is None else tags.get(_ORIENTATION, 1)
        if image.format == "PPM" and image.mode == "I":  # Pillow brings any maximum to 65535
            still = Still(np.asarray(image).astype(np.uint16))
        elif deep:
            still = _deep(file, turn=turn, tags=tags)
        else:
            still = _shallow(ImageOps.exif_transpose(image), lossy=image.format in _LOSSY)
    return replace(still, pages=pages, turned=turn in _SIDEWAYS)


def _tiff_tags(file: BinaryIO) -> Any:
    """The tags of a TIFF, by number; None for another file. Leaves `file` at its beginning.

    Raises:
        UnreadableImage: it is too large, or of a type that OpenCV stumbles over.
    """
    header = file.read(8)
    if not header.startswith(_TIFF):
        file.seek(0)
        return None
    if header[2:4] in (b"+\0", b"\0+"):
        header += file.read(8)
    tags = ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    file.seek(0)
    _check_size(tags.get(256, 0), tags.get(257, 0))
    bits, samples, kind = max(tags.get(258, (1,))), tags.get(277, 1), max(tags.get(339, (1,)))
    if kind == 3 and bits < 32:
        raise UnreadableImage(f"floats of {bits} bits are not read; save it with 32")
    if bits > 8 and samples == 2:
        raise UnreadableImage(f"grey of {bits} bits with alpha is not read in a TIFF; save it as PNG, or as RGBA")
    if kind > 4:
        raise UnreadableImage("complex numbers are no picture")
    return tags


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width}x{height} is more than {MAX_PIXELS} pixels, the most that is read")


def _has_16_bits(image: Image.Image) -> bool:
    """Pillow opens 16-bit colour as 8-bit; the raw mode of its first tile, or TIFF's tag 258, still tells."""
    tags = getattr(image, "tag_v2", {})
    if bits := tags.get(258):
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8 and tags.get(262) in (0, 1, 2)
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return isinstance(raw, str) and ";16" in raw


def _deep(file: BinaryIO, *, turn: int = 1, tags: Any = None) -> Still:
    """An image of more than 8 bits, by OpenCV, which turns TIFFs upright itself."""
    file.seek(0)
    pixels: Any = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise UnreadableImage("not an image, or damaged")
    if tags is None:
        pixels = _turned(pixels, turn)
    elif tags.get(_PHOTOMETRIC) == 0:  # 0 is white
        pixels = (1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max) - pixels
    if pixels.ndim == 2:
        return Still(np.ascontiguousarray(pixels))
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return Still(np.ascontiguousarray(pixels[..., 2::-1]), alpha)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Upright pixels, by EXIF's orientation 1 to 8."""
    if orientation in _SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _shallow(image: Image.Image, *, lossy: bool) -> Still:
    """An image of at most 8 bits, by Pillow."""
    if image.mode == "P":
        palette, colors = _palette(image)
        return Still(np.asarray(image), palette=palette, colors=colors)
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        pixels = np.asarray(image.convert("RGBA"))
        return Still(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]))
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return Still(np.asarray(image), lossy=lossy)


def _palette(image: Image.Image) -> tuple[UInt8Array, int]:
    declared = np.array(image.getpalette("RGBA") or [], np.uint8).reshape(-1, 4)
    palette = np.tile(np.array([0, 0, 0, 255], np.uint8), (256, 1))
    palette[: len(declared)] = declared[:256]
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        palette[clear, 3] = 0
    elif isinstance(clear, bytes):
        palette[: len(clear), 3] = np.frombuffer(clear[:256], np.uint8)
    return palette, min(len(declared), 256)


def white_level(dtype: npt.DTypeLike, brightest: float) -> float:
    """The number that is white, by the rule above.

    Args:
        dtype: of the stored numbers.
        brightest: the highest number there is, NaN and infinity left out.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return next((white for limit, white in _FLOAT_WHITES if brightest <= limit), 65535.0)
    highest = np.iinfo(dtype).max
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return float(highest)
    return float(next((level for level in (255, 65535, 2**32 - 1) if brightest <= level < highest), highest))


def brightest(pixels: Pixels) -> float:
    """The highest number of the pixels, NaN and infinity left out; 0 where there is none above it."""
    if pixels.dtype.kind == "f":
        pixels = pixels[np.isfinite(pixels)]
    return float(max(pixels.max(initial=0), 0))


def is_plain(pixels: Pixels) -> bool:
    """Whether the type alone says what is white: 8 or 16 bits without sign."""
    return pixels.dtype in (np.uint8, np.uint16)


def scaled(pixels: Pixels, white: float) -> ImageArray:
    """Pixels as uint8 or uint16, whose highest value is white; types other than these two become uint16."""
    if is_plain(pixels):
        return pixels
    share = np.nan_to_num(pixels.astype(np.float64), nan=0, posinf=white, neginf=0) / white
    return np.round(np.clip(share, 0, 1) * 65535).astype(np.uint16)
