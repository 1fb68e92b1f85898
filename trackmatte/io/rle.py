"""COCO's compressed run-length encoding of masks, as JSON has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

from trackmatte.types import BoolArray


def encode_masks(masks: BoolArray) -> list[dict[str, Any]]:
    """The RLE of each mask: (O, H, W) bool to `{"size": [H, W], "counts": "..."}`."""
    if masks.shape[0] == 0:
        return []
    found = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
    return [{"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")} for rle in found]


def decode_mask(rle: Any) -> BoolArray:
    """The (H, W) bool mask of an RLE.

    Raises:
        ValueError: it isn't one.
    """
    size, counts = _parts(rle)
    if sum(_runs(counts)) != size[0] * size[1]:
        raise ValueError(f"the runs don't fill a mask of {size[0]}x{size[1]}")
    found: BoolArray = coco.decode({"size": list(size), "counts": counts}).astype(np.bool_)
    return found


def _parts(rle: Any) -> tuple[tuple[int, int], bytes]:
    """Size and counts of an RLE, checked."""
    if not isinstance(rle, dict) or not isinstance(rle.get("counts"), str):
        raise ValueError("no RLE with size and counts")
    size = rle.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        raise ValueError(f"size is {size!r}, [H, W] was expected")
    return (size[0], size[1]), rle["counts"].encode("utf-8")


def _runs(counts: bytes) -> list[int]:
    """The lengths of the runs: numbers of 5 bits a character, from the third on relative to the last but one.

    The check is done here because the decoder in C trusts its input.
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
