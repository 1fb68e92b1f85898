"""A folder of images as a clip: one frame an image, in natural order of the names (2 before 10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trackmatte.errors import InputError
from trackmatte.io.reader import DamageLog, Picture, Reader
from trackmatte.types import ClipInfo, ColorTags, ImageArray

DEFAULT_RATE = Fraction(24)
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_SRGB = ColorTags(primaries="bt709", transfer="iec61966-2-1", matrix="gbr", range="pc")
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})


class ImageFolderReader(Reader):
    """Reads the images of a folder one by one; files that are not images are passed over.

    All must have one size. 8-bit images are decoded by Pillow and 16-bit ones by OpenCV; EXIF orientation is applied,
    alpha is left out. Frames last one tick of 1/rate each.
    """

    unit = "image"

    def __init__(
        self, path: str | Path, *, rate: Fraction | None = None, damaged: Literal["stop", "keep"] = "stop"
    ) -> None:
        """Lists the folder and reads its first image. Raises InputError."""
        super().__init__(probe_folder(path, rate=rate), damaged=damaged)

    def _pictures(self, log: DamageLog) -> Iterator[Picture]:
        info = self.info
        for number, file in enumerate(list_images(info.path)):
            try:
                image = read_image(file)
            except InputError:
                log.lost(f"{file.name} can't be decoded")
                continue
            if image.shape[:2] != (info.height, info.width):
                raise InputError(
                    f"{file} is {image.shape[1]}x{image.shape[0]}, the images before it are "
                    f"{info.width}x{info.height}; give a folder of images of one size"
                )
            yield Picture(number, 1, _as_depth(image, deep=info.bit_depth > 8))


def probe_folder(path: str | Path, *, rate: Fraction | None = None) -> ClipInfo:
    """Describes a folder of images from its list of files and its first image.

    Raises:
        InputError: it may not be read, holds no images, or the first can't be read.
    """
    files = list_images(path)
    first = read_image(files[0])
    height, width = first.shape[:2]
    stored = _stored_size(files[0])
    deep = first.dtype == np.uint16
    rate = rate or DEFAULT_RATE
    return ClipInfo(
        path=str(path),
        width=width,
        height=height,
        coded_width=stored[0],
        coded_height=stored[1],
        rate=rate,
        variable_rate=False,
        time_base=1 / rate,
        duration_seconds=len(files) / rate,
        frames=len(files),
        codec=files[0].suffix[1:].lower().replace("jpg", "jpeg").replace("tiff", "tif"),
        pixel_format="rgb48le" if deep else "rgb24",
        bit_depth=16 if deep else 8,
        color=_SRGB,
        container="images",
    )


def list_images(path: str | Path) -> list[Path]:
    """The images of a folder in natural order of their names.

    Raises:
        InputError: the folder may not be read, or holds none.
    """
    try:
        files = [file for file in Path(path).iterdir() if file.suffix.lower() in SUFFIXES and not _hidden(file)]
    except OSError as error:
        raise InputError(f"the folder {path} can't be read ({error.strerror}); check its permissions") from error
    if not files:
        raise InputError(
            f"the folder {path} holds no images; "
            "give a video file, or a folder of .png, .jpg, .tif, .webp or .bmp files"
        )
    return sorted(files, key=natural_key)


def natural_key(file: Path) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Sorts numbers in names by value: `a2` before `a10`; equal ones (`a1`, `a01`) by their spelling."""
    parts = re.split(r"(\d+)", file.name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part), file.name


def read_image(file: Path) -> ImageArray:
    """Reads one image, upright.

    Returns:
        (H, W, 3) RGB, uint8, or uint16 where the file has 16 bits.

    Raises:
        InputError: it can't be decoded.
    """
    try:
        with Image.open(file) as image:
            if image.mode in _DEEP_MODES or _has_16_bits(image):
                return _read_deep(file)
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "permission denied" if isinstance(error, PermissionError) else "not an image, or damaged"
        raise InputError(f"the image {file} can't be read ({reason}); remove it or get a whole copy") from error


def _has_16_bits(image: Image.Image) -> bool:
    """Pillow opens 16-bit colour as 8-bit; the raw mode of its first tile, or TIFF's tag 258, still tells."""
    if bits := getattr(image, "tag_v2", {}).get(258):
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) == 16)
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return isinstance(raw, str) and ";16" in raw


def _read_deep(file: Path) -> ImageArray:
    data = np.fromfile(file, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise ValueError("OpenCV can't decode it")
    return cast(ImageArray, np.ascontiguousarray(image[..., ::-1]))


def _as_depth(image: ImageArray, *, deep: bool) -> ImageArray:
    """Brings an image of another depth than the first one's to that depth."""
    if deep == (image.dtype == np.uint16):
        return image
    if deep:
        return cast(ImageArray, image.astype(np.uint16) * np.uint16(257))
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _stored_size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.width, image.height


def _hidden(file: Path) -> bool:
    return file.name.startswith(".") or not file.is_file()
