"""COCO's run-length encoding of masks, as JSON has it: written compressed, read compressed or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

from trackmatte.files import MAX_PIXELS
from trackmatte.types import BoolArray


def encode_masks(masks: BoolArray) -> list[dict[str, Any]]:
    """The RLE of each mask: (O, H, W) bool to `{"size": [H, W], "counts": "..."}`."""
    if masks.shape[0] == 0:
        return []
    found = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
    return [{"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")} for rle in found]


def decode_mask(rle: Any, *, size: tuple[int, int] | None = None) -> BoolArray:
    """The (H, W) bool mask of an RLE, compressed (`counts` is text) or not (a list of the runs' lengths).

    Args:
        rle: JSON data.
        size: the (H, W) that it must have; None where that isn't known, up to `MAX_PIXELS`.

    Raises:
        ValueError: it isn't one, or is of another size; nothing of that size was allocated.
    """
    height, width = rle_size(rle)
    if size is not None and (height, width) != size:
        raise ValueError(f"a mask is {width}x{height}, {size[1]}x{size[0]} was expected")
    counts = rle.get("counts")
    if isinstance(counts, str):
        runs = _runs(counts.encode("utf-8", "replace"))
    elif isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts):
        runs = counts
    else:
        raise ValueError("counts is neither text nor a list of whole numbers")
    if sum(runs) != height * width:
        raise ValueError(f"the runs don't fill a mask of {width}x{height}")
    inside = np.arange(len(runs)) % 2 == 1  # the first run is background
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(width, height).T)


def rle_size(rle: Any) -> tuple[int, int]:
    """The (H, W) of an RLE, at most `MAX_PIXELS` together.

    Raises:
        ValueError: it has none, or is larger.
    """
    size = rle.get("size") if isinstance(rle, dict) else None
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n <= MAX_PIXELS for n in size):
        raise ValueError("no RLE with size [H, W] and counts")
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"a mask of {size[1]}x{size[0]} is larger than the {MAX_PIXELS} pixels that are read")
    return size[0], size[1]


def _runs(counts: bytes) -> list[int]:
    """The lengths of the runs: numbers of 5 bits a character, from the third on relative to the last but one.

    Read here because pycocotools' decoder trusts its input.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 50:
            raise ValueError("counts holds characters that no RLE has")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        value += runs[-2] if len(runs) > 2 else 0
        if value < 0:
            raise ValueError("counts holds a negative run")
        runs.append(value)
        value = shift = 0
    if shift:
        raise ValueError("counts ends in the middle of a run")
    return runs


def bounding_box(mask: BoolArray) -> list[int]:
    """[x, y, width, height] of a mask in pixels; zeros where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return [0, 0, 0, 0]
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
