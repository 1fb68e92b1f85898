"""A folder of images as a clip: one frame an image, in natural order of the names (2 before 10)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trackmatte.errors import InputError
from trackmatte.io.reader import DamageLog, Picture, Reader
from trackmatte.io.stills import Still, UnreadableImage, brightest, is_plain, read_still, scaled, white_level
from trackmatte.types import ClipInfo, ColorTags, ImageArray

DEFAULT_RATE = Fraction(24)
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_SRGB = ColorTags(primaries="bt709", transfer="iec61966-2-1", matrix="gbr", range="pc")

Whites = dict["np.dtype[Any]", float]
"""The number that is white, for each type of pixels."""


class ImageFolderReader(Reader):
    """Reads the images of a folder one by one; files that are not images are passed over.

    All must have one size. Depths and ranges are read as `stills` says, what is white by the first, the middle and the
    last image, for all of them. EXIF orientation is applied, alpha is left out, and so are all pages but the first.
    Frames last one tick of 1/rate each; `pts` is the image's place in `info.files`.
    """

    unit = "image"

    def __init__(
        self, path: str | Path, *, rate: Fraction | None = None, damaged: Literal["stop", "keep"] = "stop"
    ) -> None:
        """Lists the folder and reads its first image. Raises InputError."""
        info, self._whites = _describe(path, rate)
        super().__init__(info, damaged=damaged)

    def _pictures(self, log: DamageLog) -> Iterator[Picture]:
        info = self.info
        for number, name in enumerate(info.files):
            file = Path(info.path, name)
            try:
                image = _picture(_read(file), self._whites)
            except InputError:
                log.lost(f"{name} can't be decoded")
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
    return _describe(path, rate)[0]


def _describe(path: str | Path, rate: Fraction | None) -> tuple[ClipInfo, Whites]:
    files = list_images(path)
    first = _read(files[0])
    whites, notes = _whites(files, first)
    image = _picture(first, whites)
    height, width = image.shape[:2]
    deep = image.dtype == np.uint16
    rate = rate or DEFAULT_RATE
    info = ClipInfo(
        path=str(path),
        width=width,
        height=height,
        coded_width=height if first.turned else width,
        coded_height=width if first.turned else height,
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
        notes=(*notes, *_gaps([file.stem for file in files])),
        files=tuple(file.name for file in files),
    )
    return info, whites


def _whites(files: Sequence[Path], first: Still) -> tuple[Whites, list[str]]:
    """What is white, by the first, the middle and the last image, and sentences on it that a user should know."""
    notes = []
    if first.pages > 1:
        notes.append(f"{files[0].name} has {first.pages} pages; the first of each image is read")
    kind = first.pixels.dtype
    if is_plain(first.pixels):
        return {kind: white_level(kind, 0)}, notes
    peak = brightest(first.pixels)
    for file in {files[len(files) // 2], files[-1]} - {files[0]}:
        still = _read(file)
        if still.pixels.dtype == kind:
            peak = max(peak, brightest(still.pixels))
    white = white_level(kind, peak)
    if kind.kind != "f" or white > 1:
        notes.append(f"{files[0].name} has {kind} pixels, whose range no file tells; {white:.0f} was taken for white")
    if peak > white:
        notes.append(f"values above {white:g} (up to {peak:g}) are read as white")
    return {kind: white}, notes


def _gaps(stems: Sequence[str]) -> list[str]:
    """A sentence on numbers that are missing in names that differ in their last number alone, or none."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", stem, re.DOTALL) for stem in stems]
    if len({part and (part[1], part[3]) for part in parts}) != 1:
        return []
    numbers = sorted({int(part[2][-18:]) for part in parts if part})
    missing = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
    if not missing:
        return []
    lost = next(number for number, other in enumerate(numbers, numbers[0]) if number != other)
    return [
        f"the numbering has gaps: of {numbers[0]} to {numbers[-1]}, {missing} missing, the first {lost}; "
        "the frames follow one another without a pause"
    ]


def list_images(path: str | Path) -> list[Path]:
    """The images of a folder in natural order of their names; folders, pipes and devices are passed over.

    Raises:
        InputError: the folder may not be read, or holds none.
    """
    try:
        with os.scandir(path) as entries:
            files = [Path(path, entry.name) for entry in entries if _is_image(entry)]
    except OSError as error:
        raise InputError(f"the folder {path} can't be read ({error.strerror}); check its permissions") from error
    if not os.access(path, os.X_OK):
        raise InputError(f"the folder {path} may be listed but not entered; give it the permission x")
    if not files:
        raise InputError(
            f"the folder {path} holds no images; "
            "give a video file, or a folder of .png, .jpg, .tif, .webp or .bmp files"
        )
    return sorted(files, key=natural_key)


def _is_image(entry: os.DirEntry[str]) -> bool:
    hidden = entry.name.startswith(".")
    return not hidden and os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file()


def natural_key(file: Path) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Sorts numbers in names by value: `a2` before `a10`; equal ones (`a1`, `a01`) by their spelling."""
    parts = re.split(r"(\d+)", file.name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part), file.name


def _read(file: Path) -> Still:
    try:
        return read_still(file)
    except UnreadableImage as error:
        raise InputError(f"the image {file} can't be read ({error}); remove it or get a whole copy") from error


def _picture(still: Still, whites: Whites) -> ImageArray:
    """(H, W, 3) RGB, uint8, or uint16 where the image has more than 8 bits."""
    if still.palette is not None:
        return np.ascontiguousarray(still.palette[still.pixels][..., :3])
    white = whites.get(still.pixels.dtype)
    image = scaled(still.pixels, white_level(still.pixels.dtype, brightest(still.pixels)) if white is None else white)
    return np.ascontiguousarray(np.broadcast_to(image[..., None], (*image.shape, 3))) if image.ndim == 2 else image


def _as_depth(image: ImageArray, *, deep: bool) -> ImageArray:
    """Brings an image of another depth than the first one's to that depth."""
    if deep == (image.dtype == np.uint16):
        return image
    if deep:
        return np.asarray(image.astype(np.uint16) * np.uint16(257), np.uint16)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
