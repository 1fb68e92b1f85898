"""Masks as JSON in the layout of YouTube-VIS, which COCO's own tools load too.

- `videos`: the clip, with `id` 1, `width`, `height`, `length` and `file_names`, a name for each frame.
- `images`: a frame each, `id` counted from 1, with `video_id`, `frame_id` (its position in this file), `index` (its
  position in the clip), `seconds`, `width`, `height` and `file_name`: the clip's name and the frame's, which in a
  folder of images is that of its image (`shot/sh010.1001.exr`) and else counts (`walk/00007.png`).
- `categories`: one for each object, by its name.
- `annotations`: one for each object, with `video_id`, `category_id`, `iscrowd` 0, `width`, `height`, `length`, and
  for each frame an entry in `segmentations` (compressed RLE), `bboxes` ([x, y, width, height]), `areas` and `scores`;
  null where the object is absent. For COCO's tools, which know single pictures alone, `image_id`, `segmentation`,
  `bbox` and `area` repeat the entries of the first frame that shows the object.

Frames are spilled to two unnamed temporary files and put together at the end, so that neither memory nor open files
grow with the clip or its objects.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from trackmatte.io.atomic import PendingOutput, output_errors
from trackmatte.io.images_out import FrameNames
from trackmatte.io.rle import bounding_box, encode_masks
from trackmatte.io.writer import Writer
from trackmatte.types import ClipInfo, ObjectMasks

_FIELDS = ("segmentations", "bboxes", "areas", "scores")
_NONE = -1


class CocoWriter(Writer):
    """A JSON file with the masks of all frames."""

    def __init__(
        self, path: str | os.PathLike[str], *, clip: ClipInfo, names: Sequence[str], overwrite: bool = False
    ) -> None:
        """Checks the name and reserves it.

        Args:
            path: the output.
            clip: the clip that is tracked.
            names: the objects, in the order of axis O.
            overwrite: whether an existing file may be replaced.

        Raises:
            UsageError: the output is the clip. OutputError: it can't be written.
        """
        self._clip = clip
        self._names = tuple(names)
        self._length = 0
        self._frames = FrameNames(clip)
        self._first: dict[int, dict[str, Any]] = {}
        self._last = [_NONE] * len(self._names)  # where in the spilled file each object was found last
        self.pending = PendingOutput(path, overwrite=overwrite, source=clip.path)
        self._files = ExitStack()
        try:
            with output_errors(self.pending.path):
                self._images = self._spill()
                self._found = self._spill()
        except BaseException:
            self.abort()
            raise

    def _spill(self) -> IO[bytes]:
        """A temporary file on the output's own disk that is gone when it is closed."""
        return self._files.enter_context(tempfile.TemporaryFile(dir=self.pending.path.parent))

    def write(self, masks: ObjectMasks, /) -> None:
        """Adds the masks of one frame. Raises OutputError."""
        rles = encode_masks(masks.masks)
        self._length += 1
        with output_errors(self.pending.path):
            self._images.write(_bytes(_json(self._image(masks))))
            for i, rle in enumerate(rles):
                self._add(i, rle, masks)

    def _image(self, masks: ObjectMasks) -> dict[str, Any]:
        height, width = masks.masks.shape[1:]
        return {
            "id": self._length,
            "video_id": 1,
            "frame_id": self._length - 1,
            "index": masks.index,
            "seconds": float(masks.pts_seconds),
            "width": width,
            "height": height,
            "file_name": f"{self._folder}/{self._frames.source(masks) or self._frames.png(masks)}",
        }

    @property
    def _folder(self) -> str:
        path = Path(self._clip.path)
        return (path.name or path.resolve().name) if self._clip.files else path.stem

    def _add(self, i: int, rle: dict[str, Any], masks: ObjectMasks) -> None:
        """Spills one object in one frame, if it is there.

        A line has, with tabs between, the place of the object's line before it, the frame's position in this file,
        and its fields as JSON.
        """
        area = int(masks.masks[i].sum())
        if not masks.present[i] or area == 0:
            return
        box = bounding_box(masks.masks[i])
        self._first.setdefault(i, {"image_id": self._length, "segmentation": rle, "bbox": box, "area": area})
        fields = (self._last[i], self._length - 1, rle, box, area, round(float(masks.scores[i]), 6))
        self._last[i] = self._found.tell()
        self._found.write(_bytes("\t".join(_json(value) for value in fields)))

    def complete(self, *, cut: bool = False) -> None:
        """Puts the file together. Raises OutputError."""
        with output_errors(self.pending.path):
            with open(self.pending.temp, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                for part in self._parts():
                    file.write(part)
            self._files.close()

    def abort(self) -> None:
        """Removes what was written."""
        with contextlib.suppress(OSError):  # the disk is full; the files go anyway
            self._files.close()
        self.pending.discard()

    def _parts(self) -> Iterator[str]:
        """The file's text, piece by piece."""
        yield '{"info":{"description":"made by trackmatte"},"licenses":[],\n"categories":'
        yield _json([{"id": i, "name": name, "supercategory": "object"} for i, name in enumerate(self._names, 1)])
        size = {"width": self._clip.width, "height": self._clip.height, "length": self._length}
        yield ',\n"videos":[' + _json({"id": 1, **size})[:-1] + ',"file_names":['
        yield from _joined(_json(json.loads(line)["file_name"]) for line in _lines(self._images))
        yield ']}],\n"images":[\n'
        yield from _joined(_lines(self._images), ",\n")
        yield '],\n"annotations":['
        for i in range(len(self._names)):
            yield ",\n" if i else "\n"
            yield from self._annotation(i, size)
        yield "]}\n"

    def _annotation(self, i: int, size: dict[str, int]) -> Iterator[str]:
        """The text of one object's annotation."""
        empty = {
            "image_id": 1,
            "segmentation": {"size": [size["height"], size["width"]], "counts": _empty_counts(size)},
            "bbox": [0, 0, 0, 0],
            "area": 0,
        }
        head = {"id": i + 1, "video_id": 1, "category_id": i + 1, "iscrowd": 0, **size, **self._first.get(i, empty)}
        yield _json(head)[:-1]
        places = self._places(i)
        for column, field in enumerate(_FIELDS, 2):
            yield f',"{field}":['
            yield from _joined(self._column(places, column))
            yield "]"
        yield "}"

    def _places(self, i: int) -> list[tuple[int, int]]:
        """Where one object was found: a frame's position in this file, and the place of its line, in order."""
        places = []
        place = self._last[i]
        while place != _NONE:
            before, frame, _ = self._line_at(place).split("\t", 2)
            places.append((int(frame), place))
            place = int(before)
        return places[::-1]

    def _column(self, places: list[tuple[int, int]], column: int) -> Iterator[str]:
        """One field of an object in each frame, as JSON."""
        found = iter(places)
        frame, place = next(found, (_NONE, _NONE))
        for current in range(self._length):
            if current != frame:
                yield "null"
                continue
            yield self._line_at(place).split("\t")[column]
            frame, place = next(found, (_NONE, _NONE))

    def _line_at(self, place: int) -> str:
        self._found.seek(place)
        return self._found.readline().decode().rstrip("\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _bytes(line: str) -> bytes:
    """A line as UTF-8; bytes of a name that are no text become JSON's own escapes."""
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _lines(file: IO[bytes]) -> Iterator[str]:
    """The lines of a spilled file, without their ends."""
    file.seek(0)
    for line in file:
        yield line.decode().rstrip("\n")


def _joined(items: Iterator[str], separator: str = ",") -> Iterator[str]:
    """The items with separators between them."""
    for i, item in enumerate(items):
        yield separator + item if i else item


def _empty_counts(size: dict[str, int]) -> str:
    """The RLE counts of an empty mask."""
    return str(encode_masks(np.zeros((1, size["height"], size["width"]), np.bool_))[0]["counts"])
