"""Prompts as JSON, in a file of their own or in the header of native tracks.

```json
{"prompts": [
    {"point": [640, 360]},
    {"object": "ball", "frame": 48, "point": [12.5, 80], "positive": false},
    {"object": "ball", "time": 1.6, "box": [10, 20, 90, 80]},
    {"object": "cat", "mask": "cat.png"},
    {"object": "cat", "mask": {"size": [720, 1280], "counts": "..."}}
]}
```

An entry has exactly one of `point` [x, y], `box` [x0, y0, x1, y1] and `mask`: an image file, named as seen from the
JSON file's folder, or COCO's RLE, compressed or as a list of runs. `positive` (default true) is false for a click on
what is not the object. `object` is the object's name, by default "1"; an image of labels without it seeds one object
for each (see `masks`). `frame` (an index) or `time` (seconds, a number or a fraction such as "8/5") says when; without
both it is the first frame that is tracked. Coordinates are pixels of the picture as displayed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any

from trackmatte.errors import PromptError, printable
from trackmatte.files import open_input
from trackmatte.io.data import load_json
from trackmatte.io.masks import read_mask
from trackmatte.io.rle import decode_mask, encode_masks, rle_size
from trackmatte.names import check_name
from trackmatte.numbers import parse_fraction
from trackmatte.types import Box, Mask, Point, Prompt

SHAPES = ("point", "box", "mask")
KEYS = ("object", "frame", "time", *SHAPES, "positive")
MAX_TOTAL = 2**32
"""Pixels of all masks in one file."""
_MAX_FRAME = 10**12

Place = Path | tuple[int, int] | None
"""Where masks come from: files as seen from a folder, or RLE alone, of one size (H, W) or of any."""


def read_prompts(path: str | Path) -> list[Prompt]:
    """Reads a file of prompts.

    Raises:
        PromptError: the file can't be read or is not of the form above; the message names the entry, counted from 1.
    """
    path = Path(path)
    try:
        with open_input(path) as file:
            data = load_json(file.read().decode("utf-8-sig"))
    except OSError as exc:
        raise PromptError(f"prompts {path} can't be read ({exc.strerror}); give a JSON file") from exc
    except ValueError as exc:
        raise PromptError(f"prompts {path} is not JSON ({exc}); give a JSON file") from exc
    entries = data.get("prompts") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise PromptError(f'prompts {path} has no list of prompts; write {{"prompts": [{{"point": [640, 360]}}]}}')
    _check_masks(entries, path)
    prompts: list[Prompt] = []
    for number, entry in enumerate(entries, start=1):
        try:
            prompts += _prompts(entry, path.parent)
        except PromptError as exc:
            raise PromptError(f"prompts {path}, entry {number}: {exc}") from exc
    return prompts


def _check_masks(entries: list[Any], path: Path) -> None:
    """Refuses masks that together are more than memory should hold, before any is decoded. Raises PromptError."""
    total = 0
    for entry in entries:
        with contextlib.suppress(ValueError):  # told with the entry's number later on
            height, width = rle_size(entry.get("mask") if isinstance(entry, dict) else None)
            total += height * width
    if total > MAX_TOTAL:
        raise PromptError(f"prompts {path} has masks of {total} pixels together, more than {MAX_TOTAL}; use fewer")


def prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    """A prompt as JSON data of the form above, masks as RLE; `prompt_from_json` gives the same prompt back."""
    entry: dict[str, Any] = {"object": prompt.name}
    if prompt.frame is not None:
        entry["frame"] = prompt.frame
    if prompt.seconds is not None:
        plain = float(prompt.seconds)
        entry["time"] = plain if Fraction(str(plain)) == prompt.seconds else str(prompt.seconds)
    if isinstance(prompt, Point):
        return {**entry, "point": [prompt.x, prompt.y], "positive": prompt.positive}
    if isinstance(prompt, Box):
        return {**entry, "box": [prompt.x0, prompt.y0, prompt.x1, prompt.y1]}
    return {**entry, "mask": encode_masks(prompt.mask[None])[0]}


def prompt_from_json(entry: object, *, size: tuple[int, int] | None = None) -> Prompt:
    """The prompt that JSON data of the form above describe; a mask must be RLE, of `size` (H, W) where that is given.

    Raises:
        PromptError: the data are of another form.
    """
    return _prompts(entry, size)[0]


def _prompts(entry: object, place: Place) -> list[Prompt]:
    """The prompts of an entry: one, or several where an indexed PNG holds several objects. Raises PromptError."""
    if not isinstance(entry, dict):
        raise PromptError(f'{_shown(entry)} is not an object; write for example {{"point": [640, 360]}}')
    if unknown := [key for key in entry if key not in KEYS]:
        raise PromptError(f"{_shown(unknown[0])} is not known; known are {', '.join(KEYS)}")
    given = [key for key in SHAPES if key in entry]
    if len(given) != 1:
        raise PromptError(f"it has {' and '.join(given) or 'no shape'}; give exactly one of point, box and mask")
    if "positive" in entry and given != ["point"]:
        raise PromptError(f"positive goes with a point; leave it out of a {given[0]}")
    return _READ[given[0]](entry, _at(entry), place)


def _at(entry: dict[str, Any]) -> dict[str, Any]:
    """Name, frame and seconds of an entry. Raises PromptError."""
    name, frame, time = check_name(entry.get("object", "1")), entry.get("frame"), entry.get("time")
    if frame is not None and time is not None:
        raise PromptError("it has frame and time; give one of them")
    if frame is not None and (type(frame) is not int or not 0 <= frame <= _MAX_FRAME):
        raise PromptError(f"frame is {_shown(frame)}; give an index, a whole number from 0")
    return {"name": name, "frame": frame, "seconds": None if time is None else _seconds(time)}


def _seconds(time: object) -> Fraction:
    try:
        if isinstance(time, bool) or not isinstance(time, (int, float, str)):
            raise ValueError(time)
        seconds = parse_fraction(str(time))
        if seconds < 0:
            raise ValueError(time)
    except ValueError as exc:
        raise PromptError(f'time is {_shown(time)}; give seconds from 0, for example 1.6 or "8/5"') from exc
    return seconds


def _point(entry: dict[str, Any], at: dict[str, Any], place: Place) -> list[Prompt]:
    positive = entry.get("positive", True)
    if not isinstance(positive, bool):
        raise PromptError(f"positive is {_shown(positive)}; give true or false")
    x, y = _numbers(entry, "point", "[x, y]", 2)
    return [Point(x, y, positive=positive, **at)]


def _box(entry: dict[str, Any], at: dict[str, Any], place: Place) -> list[Prompt]:
    x0, y0, x1, y1 = _numbers(entry, "box", "[x0, y0, x1, y1]", 4)
    if x1 <= x0 or y1 <= y0:
        raise PromptError(f"box is {_shown(entry['box'])}; give the top left corner first: x1 > x0 and y1 > y0")
    return [Box(x0, y0, x1, y1, **at)]


def _mask(entry: dict[str, Any], at: dict[str, Any], place: Place) -> list[Prompt]:
    source = entry["mask"]
    if isinstance(source, str) and source and isinstance(place, Path):
        return mask_prompts(place / source, at, named="object" in entry)
    try:
        return [Mask(mask=decode_mask(source, size=None if isinstance(place, Path) else place), **at)]
    except ValueError as exc:
        form = 'an image file or {"size": [H, W], "counts": "..."}'
        raise PromptError(f"mask is {_shown(source)} ({exc}); give {form}") from exc


def mask_prompts(path: str | Path, at: dict[str, Any], *, named: bool) -> list[Prompt]:
    """The prompts of an image file: one, or one for each label where the user gave no name; see `masks`.

    Args:
        path: the image file.
        at: the fields of `At`.
        named: the user named the object: all labels are that one object.

    Raises:
        PromptError: the file can't be used.
    """
    found = read_mask(path, named=named)
    return [Mask(mask=mask, **{**at, "name": name or at["name"]}) for name, mask in found]


def _numbers(entry: dict[str, Any], key: str, form: str, count: int) -> list[float]:
    """The finite numbers under a key. Raises PromptError."""
    values = entry[key]
    if isinstance(values, list) and len(values) == count and all(_is_number(value) for value in values):
        return [float(value) for value in values]
    raise PromptError(f"{key} is {_shown(values)}; give {form} in pixels")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= 1e9 if isinstance(value, int) else isfinite(value)


def _shown(value: object) -> str:
    try:
        text = printable(json.dumps(value, default=str, ensure_ascii=False))
    except (RecursionError, ValueError):  # nested, or a number, beyond what can be shown
        text = "beyond reason"
    return text if len(text) <= 60 else f"{text[:57]}..."


_READ: dict[str, Callable[[dict[str, Any], dict[str, Any], Place], list[Prompt]]] = {
    "point": _point,
    "box": _box,
    "mask": _mask,
}
