"""Native tracks (`.jsonl`): a header line, then a line a frame with the RLE of each object.

```
{"trackmatte": 1, "clip": {...}, "model": "nano", "prompts": [...], "objects": ["1", "ball"]}
{"index": 0, "pts": 0, "objects": {"1": {"rle": {"size": [H, W], "counts": "..."}, "score": 0.98, "present": true}}}
```

`clip` has `path`, `width`, `height`, `time_base` (seconds of a tick of `pts`, as `"1/30000"`), `rate` and `frames`
(null where unknown); `prompts` has the form that the module of that name describes. `"trim": true` in the header says
that the frames are a part of the clip. An object that had no prompt yet has `"seeded": false` besides. Lines are
written as tracking goes on; a file that was cut after the first line can be read up to its last whole line.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trackmatte.errors import InputError, PromptError, printable
from trackmatte.files import open_input
from trackmatte.io.atomic import PendingOutput, output_errors
from trackmatte.io.data import load_json
from trackmatte.io.prompts import prompt_from_json, prompt_to_json
from trackmatte.io.rle import decode_mask, encode_masks, rle_size
from trackmatte.io.writer import Writer
from trackmatte.names import check_name
from trackmatte.numbers import parse_fraction
from trackmatte.types import ClipInfo, ObjectMasks, Prompt

VERSION = 1


class TracksWriter(Writer):
    """A file of native tracks; the lines reach the disk as they are written."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clip: ClipInfo,
        model: str,
        prompts: Sequence[Prompt],
        names: Sequence[str],
        trim: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Checks the name, reserves it and writes the header.

        Args:
            path: the output.
            clip: the clip that is tracked.
            model: the model's name.
            prompts: what the objects were named with.
            names: the objects, in the order of axis O.
            trim: whether the frames are a part of the clip.
            overwrite: whether an existing file may be replaced.

        Raises:
            UsageError: the output is the clip. OutputError: it can't be written.
        """
        self.pending = PendingOutput(path, overwrite=overwrite, source=clip.path)
        header: dict[str, Any] = {
            "trackmatte": VERSION,
            "clip": _clip_json(clip),
            "model": model,
            "prompts": [prompt_to_json(prompt) for prompt in prompts],
            "objects": list(names),
        }
        if trim:
            header["trim"] = True
        try:
            with output_errors(self.pending.path):
                self._file = open(  # noqa: SIM115
                    self.pending.temp, "w", encoding="utf-8", errors="backslashreplace", newline="\n", buffering=1
                )
            self._line(header)
        except BaseException:
            self.pending.discard()
            raise

    def write(self, masks: ObjectMasks, /) -> None:
        """Adds the line of one frame. Raises OutputError."""
        self._line({"index": masks.index, "pts": masks.pts, "objects": _objects_json(masks)})

    def _line(self, value: dict[str, Any]) -> None:
        with output_errors(self.pending.path):
            self._file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")

    def complete(self, *, cut: bool = False) -> None:
        """Writes what is left. Raises OutputError."""
        with output_errors(self.pending.path):
            self._file.close()

    def abort(self) -> None:
        """Removes what was written."""
        with contextlib.suppress(OSError):  # the disk is full; the file goes anyway
            self._file.close()
        self.pending.discard()


def _clip_json(clip: ClipInfo) -> dict[str, Any]:
    return {
        "path": clip.path,
        "width": clip.width,
        "height": clip.height,
        "time_base": str(clip.time_base),
        "rate": None if clip.rate is None else str(clip.rate),
        "frames": clip.frames,
    }


def _objects_json(masks: ObjectMasks) -> dict[str, Any]:
    objects: dict[str, Any] = {}
    for i, rle in enumerate(encode_masks(masks.masks)):
        value = {"rle": rle, "score": round(float(masks.scores[i]), 6), "present": bool(masks.present[i])}
        objects[masks.names[i]] = value if masks.seeded[i] else {**value, "seeded": False}
    return objects


@dataclass(frozen=True, slots=True)
class Tracks:
    """Saved tracks; iterating reads the frames one by one, each time from the first.

    Attributes:
        path: the file.
        clip: the header's `clip`, as data.
        model: the model's name.
        prompts: what the objects were named with.
        names: the objects' names, in the order of axis O.
        width: columns of the masks.
        height: rows of the masks.
        time_base: seconds of one tick of `pts`.
        trimmed: the frames are a part of the clip.
    """

    path: Path
    clip: dict[str, Any]
    model: str
    prompts: tuple[Prompt, ...]
    names: tuple[str, ...]
    width: int
    height: int
    time_base: Fraction
    trimmed: bool = False

    def __iter__(self) -> Iterator[ObjectMasks]:
        """The masks of each frame, up to the last whole line. Raises InputError at a damaged line before it."""
        with _open(self.path) as file:
            next(file)
            for number, line in enumerate(file, 2):
                try:
                    value = load_json(line)
                except ValueError as exc:
                    if not line.endswith(b"\n"):
                        return
                    raise InputError(f"{self.path}: line {number} isn't JSON; the tracks are damaged") from exc
                try:
                    masks = self._masks(value)
                except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as exc:
                    raise InputError(f"{self.path}: line {number} is no frame of these tracks: {exc}") from exc
                yield masks

    def _masks(self, value: dict[str, Any]) -> ObjectMasks:
        """One line's masks. Raises an error of Python's where it isn't a frame."""
        objects = [value["objects"][name] for name in self.names]
        size = (self.height, self.width)
        masks = np.zeros((len(objects), *size), np.bool_)
        for mask, item in zip(masks, objects, strict=True):
            mask[:] = decode_mask(item["rle"], size=size)
        return ObjectMasks(
            index=_integer(value["index"]),
            pts=_integer(value["pts"]),
            time_base=self.time_base,
            names=self.names,
            masks=masks,
            scores=np.array([_score(item["score"]) for item in objects], np.float32),
            present=np.array([bool(item["present"]) for item in objects], np.bool_),
            seeded=np.array([bool(item.get("seeded", True)) for item in objects], np.bool_),
        )


def read_tracks(path: str | os.PathLike[str]) -> Tracks:
    """Opens saved tracks.

    Raises:
        InputError: the file can't be read or is no native tracks.
    """
    path = Path(path)
    with _open(path) as file:
        line = file.readline()
    try:
        header = load_json(line)
        version = header["trackmatte"]
        if version != VERSION:
            raise InputError(
                f"{path}: tracks of version {printable(str(version)[:20])}, {VERSION} was expected; update trackmatte"
            )
        clip = header["clip"]
        size = rle_size({"size": [clip["height"], clip["width"]]})
        return Tracks(
            path=path,
            clip=clip,
            model=printable(str(header["model"])),
            prompts=tuple(prompt_from_json(value, size=size) for value in header["prompts"]),
            names=_names(header["objects"]),
            width=size[1],
            height=size[0],
            time_base=_time_base(clip["time_base"]),
            trimmed=bool(header.get("trim", False)),
        )
    except PromptError as exc:
        raise InputError(f"{path}: no native tracks that can be used: {exc}") from exc
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise InputError(f"{path}: no native tracks; a .jsonl file that a run wrote was expected") from exc


def _open(path: Path) -> BinaryIO:
    """The file, for reading bytes. Raises InputError."""
    try:
        return open_input(path)
    except OSError as exc:
        raise InputError(f"can't read {path}: {exc.strerror or exc}") from exc


def _names(values: Any) -> tuple[str, ...]:
    """Objects' names. Raises TypeError, ValueError or PromptError."""
    if not isinstance(values, list):
        raise TypeError("the objects are no list")
    names = tuple(check_name(value) for value in values)
    if len(set(names)) < len(names):
        raise ValueError("an object is there twice")
    return names


def _time_base(value: Any) -> Fraction:
    """A time base above 0. Raises TypeError or ValueError."""
    if not isinstance(value, str) or (base := parse_fraction(value)) <= 0:
        raise ValueError("the time base is no fraction above 0")
    return base


def _integer(value: Any) -> int:
    """An integer of at most 64 bits as it is. Raises TypeError or ValueError."""
    if type(value) is not int:
        raise TypeError("index and pts are whole numbers")
    if abs(value) >= 2**63:
        raise ValueError("index and pts have at most 64 bits")
    return value


def _score(value: Any) -> float:
    """A finite number. Raises ValueError or TypeError."""
    score = float(value)
    if not isfinite(score):
        raise ValueError("a score is no number")
    return score
