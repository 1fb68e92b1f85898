"""Folders of PNGs: indexed masks, masks of single objects, mattes, and pictures with alpha; and single PNGs.

Each in a folder is named after its frame (see `FrameNames`). The folder is written under a temporary name and gets its
own when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from PIL import Image

from trackmatte.errors import OutputError, UsageError
from trackmatte.io.atomic import PendingOutput, output_errors
from trackmatte.io.pngs import marked
from trackmatte.io.writer import Writer
from trackmatte.names import folder_name
from trackmatte.palette import davis_palette
from trackmatte.types import ClipInfo, Frame, ObjectMasks, UInt8Array

MAX_INDEXED = 255
_COMPRESSION = 3  # of 9: a third of the time for a few percent of the size


class FrameNames:
    """How a frame's picture is called, in a folder of PNGs and in COCO's JSON.

    A frame of a folder of images keeps the name of its image, `sh010_v003.1001.exr` as `sh010_v003.1001.png`; where
    two images differ in their suffix alone, all keep that too (`a.jpg.png`, `a.png.png`). A frame of a video is named
    by its position, as DAVIS does (`00000.png`).
    """

    def __init__(self, clip: ClipInfo | None = None) -> None:
        """Of the frames of `clip`; None counts."""
        self.sources = clip.files if clip else ()
        stems = [PurePath(name).stem for name in self.sources]
        self._stems = stems if len(set(stems)) == len(stems) else list(self.sources)

    def source(self, frame: Frame | ObjectMasks) -> str | None:
        """The name of the image that the frame was read from; None where it was no image of a folder."""
        return self.sources[frame.pts] if 0 <= frame.pts < len(self.sources) else None

    def png(self, frame: Frame | ObjectMasks) -> str:
        """The name of the frame's picture."""
        stem = f"{frame.index:05d}" if self.source(frame) is None else self._stems[frame.pts]
        return f"{stem}.png"


def index_map(masks: ObjectMasks) -> UInt8Array:
    """One picture of all objects: (H, W) uint8, 0 background, i the i-th object counted from 1.

    Where objects overlap the one with the higher score is seen, of equal ones the later.
    """
    picture = np.zeros(masks.masks.shape[1:], np.uint8)
    for i in np.argsort(masks.scores, kind="stable"):
        picture[masks.masks[i]] = i + 1
    return picture


class IndexedPngWriter(Writer):
    """A folder of indexed PNGs as DAVIS has them: object i, in the order of the names, is index i from 1 on."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str],
        clip: ClipInfo | None = None,
        overwrite: bool = False,
    ) -> None:
        """Checks the name and reserves it.

        Args:
            path: the folder.
            names: the objects, in the order of axis O.
            clip: the clip whose frames give the pictures their names; None counts.
            overwrite: whether an existing folder may be replaced.

        Raises:
            UsageError: there are more objects than indices.
            OutputError: the folder exists and isn't empty, or can't be written.
        """
        if len(names) > MAX_INDEXED:
            raise UsageError(
                f"{len(names)} objects don't fit indexed PNGs, which hold {MAX_INDEXED}; use a .jsonl or .json file"
            )
        self._names = FrameNames(clip)
        self.pending = PendingOutput(path, overwrite=overwrite, folder=True)

    def write(self, masks: ObjectMasks, /) -> None:
        """Adds the picture of one frame. Raises OutputError."""
        image = Image.fromarray(index_map(masks))
        image.putpalette(davis_palette())  # grey becomes indexed with it
        with output_errors(self.pending.path):
            data = BytesIO()
            image.save(data, format="PNG")
            (self.pending.temp / self._names.png(masks)).write_bytes(marked(data.getvalue()))


class SeparatePngWriter(Writer):
    """A folder with one for each object, `ball/00000.png`: 255 where the object is, else 0, in 8 bits of grey."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str],
        clip: ClipInfo | None = None,
        overwrite: bool = False,
    ) -> None:
        """Checks the name and reserves it.

        Args:
            path: the folder.
            names: the objects, in the order of axis O.
            clip: the clip whose frames give the pictures their names; None counts.
            overwrite: whether an existing folder may be replaced: one that holds folders of these objects alone.

        Raises:
            UsageError: an object's name can't be that of a folder.
            OutputError: the folder exists and isn't empty, or can't be written.
        """
        folders = [folder_name(name) for name in names]
        self._names = FrameNames(clip)
        self.pending = PendingOutput(path, overwrite=overwrite, folder=True, folders=folders)
        try:
            with output_errors(self.pending.path):
                for folder in folders:
                    (self.pending.temp / folder).mkdir()
        except BaseException:
            self.abort()
            raise

    def write(self, masks: ObjectMasks, /) -> None:
        """Adds the pictures of one frame. Raises OutputError."""
        for name, mask in zip(masks.names, masks.masks, strict=True):
            data = marked(_png(mask.view(np.uint8) * np.uint8(255)))
            with output_errors(self.pending.path):
                (self.pending.temp / name / self._names.png(masks)).write_bytes(data)


class ImageFolderWriter(Writer):
    """A folder of PNGs: 8-bit grey for mattes, RGBA with straight alpha of 8 or 16 bits."""

    def __init__(self, path: str | os.PathLike[str], *, clip: ClipInfo | None = None, overwrite: bool = False) -> None:
        """Checks the name and reserves it; `clip` gives the pictures their names, None counts. Raises OutputError."""
        self._names = FrameNames(clip)
        self.pending = PendingOutput(path, overwrite=overwrite, folder=True)

    def write(self, frame: Frame, /) -> None:
        """Adds one picture, (H, W) uint8 or (H, W, 4) uint8 or uint16. Raises OutputError."""
        image: Any = frame.image
        if image.ndim == 3 and image.shape[2] == 4:
            image = np.ascontiguousarray(image[..., [2, 1, 0, 3]])
        elif image.ndim != 2:
            raise OutputError(f"frame {frame.index} is {image.shape}, (H, W) or (H, W, 4) was expected")
        with output_errors(self.pending.path):
            (self.pending.temp / self._names.png(frame)).write_bytes(marked(_png(image)))


class PictureWriter(Writer):
    """One picture of 8 bits, a PNG."""

    def __init__(self, path: str | os.PathLike[str], *, clip: ClipInfo, overwrite: bool = False) -> None:
        """Checks the name and reserves it.

        Args:
            path: the output.
            clip: the clip that is read.
            overwrite: whether an existing file may be replaced.

        Raises:
            UsageError: the name is not that of a PNG, or the picture would be one of the clip's own.
            OutputError: the file exists, or can't be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise UsageError(f"the picture {path} is written as PNG; give it a name that ends in .png")
        if clip.files and path.parent.resolve() == Path(clip.path).resolve():
            raise UsageError(f"the picture {path} would be one of the clip's own; give another folder")
        self.pending = PendingOutput(path, overwrite=overwrite, source=clip.path)

    def write(self, picture: UInt8Array, /) -> None:
        """Sets the picture, (H, W, 3) RGB. Raises OutputError."""
        data = _png(np.ascontiguousarray(picture[..., ::-1]))
        with output_errors(self.pending.path):
            self.pending.temp.write_bytes(data)


def _png(image: Any) -> bytes:
    """A file's content, of an array with channels in OpenCV's order. Raises OutputError."""
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION])
    if not done:
        raise OutputError(f"a picture of {image.shape} {image.dtype} can't be stored as PNG")
    return data.tobytes()
