"""Prompts as JSON, in a file of their own or in the header of native tracks, and masks as image files.

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
JSON file's folder, or COCO's compressed RLE. `positive` (default true) is false for a click on what is not the
object. `object` is the object's name, by default "1"; an indexed PNG without it seeds one object for each index.
`frame` (an index) or `time` (seconds, a number or a fraction such as "8/5") says when; without both it is the first
frame that is tracked. Coordinates are pixels of the picture as displayed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from trackmatte.errors import PromptError
from trackmatte.io.rle import decode_mask, encode_masks
from trackmatte.types import BoolArray, Box, Mask, Point, Prompt

SHAPES = ("point", "box", "mask")
KEYS = ("object", "frame", "time", *SHAPES, "positive")
HALF = 127
VOID = 255


def read_prompts(path: str | Path) -> list[Prompt]:
    """Reads a file of prompts.

    Raises:
        PromptError: the file can't be read or is not of the form above; the message names the entry, counted from 1.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise PromptError(f"prompts {path} can't be read ({exc.strerror}); give a JSON file") from exc
    except (ValueError, RecursionError) as exc:
        raise PromptError(f"prompts {path} is not JSON ({exc}); give a JSON file") from exc
    entries = data.get("prompts") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise PromptError(f'prompts {path} has no list of prompts; write {{"prompts": [{{"point": [640, 360]}}]}}')
    prompts: list[Prompt] = []
    for number, entry in enumerate(entries, start=1):
        try:
            prompts += _prompts(entry, path.parent)
        except PromptError as exc:
            raise PromptError(f"prompts {path}, entry {number}: {exc}") from exc
    return prompts


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


def prompt_from_json(entry: object) -> Prompt:
    """The prompt that JSON data of the form above describe; a mask must be RLE.

    Raises:
        PromptError: the data are of another form.
    """
    return _prompts(entry, None)[0]


def read_mask(path: str | Path) -> list[tuple[str | None, BoolArray]]:
    """Reads the mask, or the masks, of an image file.

    Of an indexed PNG each index but 0 is an object, named by its number; 255, DAVIS's mark for pixels to ignore, is
    left out where there are others. Of any other image non-zero is the object; except that where an alpha channel
    is not opaque everywhere, alpha above 127 is, and in a JPEG, whose black is never quite 0, values above 127 are.

    Returns:
        (name, mask) pairs: (H, W) bool, upright, none of them empty; the name is None but for an indexed PNG.

    Raises:
        PromptError: the file can't be read as an image, or no pixel is set.
    """
    image = _open_image(Path(path))
    pixels = np.asarray(image)
    if image.mode == "P":
        indices = [int(index) for index in np.unique(pixels) if index]
        found = [index for index in indices if index != VOID]
        masks: list[tuple[str | None, BoolArray]] = [(str(index), pixels == index) for index in found]
        if indices == [VOID]:
            masks = [(None, pixels == VOID)]
    else:
        mask = _inside(image, pixels)
        masks = [(None, mask)] if mask.any() else []
    if not masks:
        raise PromptError(f"mask {path} is empty: all its pixels are 0; give an image in which the object is not 0")
    return masks


def _open_image(path: Path) -> Image.Image:
    """An upright, decoded image. Raises PromptError."""
    try:
        with Image.open(path) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
            image.load()
            image.format = file.format
            return image
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is not an image that can be read"
        raise PromptError(f"mask {path} can't be used: {reason}; give an image file such as a PNG") from exc


def _inside(image: Image.Image, pixels: np.ndarray[Any, Any]) -> BoolArray:
    """(H, W) bool of an image that is not indexed."""
    if "A" in image.getbands():
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() < 255:
            opaque: BoolArray = alpha > HALF
            return opaque
        pixels = np.asarray(image.convert("RGB"))
    lossy = image.format in ("JPEG", "MPO")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        pixels = np.asarray(image.convert("RGB"))
    bright = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    inside: BoolArray = bright > HALF if lossy else bright != 0
    return inside


def _prompts(entry: object, folder: Path | None) -> list[Prompt]:
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
    return _READ[given[0]](entry, _at(entry), folder)


def _at(entry: dict[str, Any]) -> dict[str, Any]:
    """Name, frame and seconds of an entry. Raises PromptError."""
    name, frame, time = entry.get("object", "1"), entry.get("frame"), entry.get("time")
    if not isinstance(name, str) or not name:
        raise PromptError(f'object is {_shown(name)}; give a name, for example "ball"')
    if frame is not None and time is not None:
        raise PromptError("it has frame and time; give one of them")
    if frame is not None and (type(frame) is not int or frame < 0):
        raise PromptError(f"frame is {_shown(frame)}; give an index, a whole number from 0")
    return {"name": name, "frame": frame, "seconds": None if time is None else _seconds(time)}


def _seconds(time: object) -> Fraction:
    try:
        if isinstance(time, bool) or not isinstance(time, (int, float, str)):
            raise ValueError(time)
        seconds = Fraction(str(time))
        if seconds < 0:
            raise ValueError(time)
    except (ValueError, ZeroDivisionError) as exc:
        raise PromptError(f'time is {_shown(time)}; give seconds from 0, for example 1.6 or "8/5"') from exc
    return seconds


def _point(entry: dict[str, Any], at: dict[str, Any], folder: Path | None) -> list[Prompt]:
    positive = entry.get("positive", True)
    if not isinstance(positive, bool):
        raise PromptError(f"positive is {_shown(positive)}; give true or false")
    x, y = _numbers(entry, "point", "[x, y]", 2)
    return [Point(x, y, positive=positive, **at)]


def _box(entry: dict[str, Any], at: dict[str, Any], folder: Path | None) -> list[Prompt]:
    x0, y0, x1, y1 = _numbers(entry, "box", "[x0, y0, x1, y1]", 4)
    if x1 <= x0 or y1 <= y0:
        raise PromptError(f"box is {_shown(entry['box'])}; give the top left corner first: x1 > x0 and y1 > y0")
    return [Box(x0, y0, x1, y1, **at)]


def _mask(entry: dict[str, Any], at: dict[str, Any], folder: Path | None) -> list[Prompt]:
    source = entry["mask"]
    if isinstance(source, str) and source and folder is not None:
        return name_masks(read_mask(folder / source), at, named="object" in entry)
    try:
        return [Mask(mask=decode_mask(source), **at)]
    except ValueError as exc:
        form = 'an image file or {"size": [H, W], "counts": "..."}'
        raise PromptError(f"mask is {_shown(source)}; give {form}") from exc


def name_masks(masks: list[tuple[str | None, BoolArray]], at: dict[str, Any], *, named: bool) -> list[Prompt]:
    """Prompts of the masks that `read_mask` found.

    Args:
        masks: from `read_mask`.
        at: the fields of `At`.
        named: the user named the object: all masks are that one object.
    """
    if named:
        return [Mask(mask=np.any([mask for _, mask in masks], axis=0), **at)]
    return [Mask(mask=mask, **{**at, "name": name or at["name"]}) for name, mask in masks]


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
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


_READ: dict[str, Callable[[dict[str, Any], dict[str, Any], Path | None], list[Prompt]]] = {
    "point": _point,
    "box": _box,
    "mask": _mask,
}
