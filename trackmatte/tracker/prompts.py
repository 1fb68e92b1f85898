"""Prompts checked and gathered, an entry for each object; numbers only, no tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np

from trackmatte.errors import PromptError
from trackmatte.names import check_name
from trackmatte.types import BoolArray, Box, Float32Array, Mask, Point, Prompt

_NEGATIVE, _POSITIVE, _TOP_LEFT, _BOTTOM_RIGHT = 0, 1, 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPrompt:
    """All that is said about one object on one frame: a mask, or a box and clicks.

    Attributes:
        coordinates: (P, 2) float32, x and y in displayed pixels and inside the picture, a box's corners first.
        labels: P times 0 for a click beside the object, 1 on it, 2 and 3 for a box's corners.
        mask: (H, W) bool, or None; with it P is 0.
    """

    coordinates: Float32Array
    labels: tuple[int, ...]
    mask: BoolArray | None = None


def gather(
    prompts: Sequence[Prompt], *, height: int, width: int, seeded: Set[str] = frozenset()
) -> dict[str, ObjectPrompt]:
    """Checks the prompts of one frame and puts together what belongs to one object.

    A box is clamped to the picture. A click on the right or the lower edge is one on the last pixel.

    Args:
        prompts: in the order given; objects come out in the order of their first mention.
        height: rows of the displayed picture.
        width: columns of it.
        seeded: names of the objects that have had a first prompt.

    Raises:
        PromptError: a prompt lies wholly outside the picture, is no number, has no area or another size than the
            picture, or does not say where the object is.
    """
    by_name: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        check(prompt, height=height, width=width)
        by_name.setdefault(prompt.name, []).append(prompt)
    return {
        name: _join(name, group, height=height, width=width, first=name not in seeded)
        for name, group in by_name.items()
    }


def _join(name: str, prompts: Sequence[Prompt], *, height: int, width: int, first: bool) -> ObjectPrompt:
    masks = [prompt.mask for prompt in prompts if isinstance(prompt, Mask)]
    boxes = [prompt for prompt in prompts if isinstance(prompt, Box)]
    points = [prompt for prompt in prompts if isinstance(prompt, Point)]
    if len(masks) > 1 or len(boxes) > 1:
        raise PromptError(f"object {name!r} has {len(masks) or len(boxes)} {'masks' if masks else 'boxes'} on one "
                          "frame; give one, or name another object")  # fmt: skip
    if masks and len(prompts) > 1:
        raise PromptError(f"object {name!r} has a mask and clicks or a box on one frame; give one or the other")
    if masks:
        return ObjectPrompt(np.empty((0, 2), np.float32), (), masks[0])
    if first and not boxes and not any(point.positive for point in points):
        raise PromptError(f"object {name!r} has only negative clicks; say first where it is, by a click, box or mask")
    corners = [(x, y) for box in boxes for x, y in ((box.x0, box.y0), (box.x1, box.y1))]
    labels = [_TOP_LEFT, _BOTTOM_RIGHT] * len(boxes) + [_POSITIVE if point.positive else _NEGATIVE for point in points]
    clamped = [(min(max(x, 0), width), min(max(y, 0), height)) for x, y in corners]
    clicks = [(_onto(point.x, width), _onto(point.y, height)) for point in points]
    return ObjectPrompt(np.array(clamped + clicks, np.float32), tuple(labels))


def _onto(place: float, length: int) -> float:
    """A click's coordinate; on the far edge, the middle of the last pixel."""
    return place if place < length else length - 0.5


def check(prompt: Prompt, *, height: int, width: int) -> None:
    """Checks one prompt against the picture, whenever it is due.

    Raises:
        PromptError: it lies wholly outside the picture, is no number, has no area or another size than the picture,
            or names its object with what is no name.
    """
    check_name(prompt.name)
    if isinstance(prompt, Point):
        where = f"{'click' if prompt.positive else 'negative click'} ({prompt.x:g}, {prompt.y:g})"
        inside = _finite((prompt.x, prompt.y)) and 0 <= prompt.x <= width and 0 <= prompt.y <= height
    elif isinstance(prompt, Box):
        where = f"box ({prompt.x0:g}, {prompt.y0:g}, {prompt.x1:g}, {prompt.y1:g})"
        inside = _check_box(prompt, where, height, width)
    else:
        _check_mask(prompt, height, width)
        return
    if not inside:
        raise PromptError(
            f"{where} for object {prompt.name!r} lies outside the picture of {width}x{height} pixels; give x in 0 to "
            f"{width} and y in 0 to {height}"
        )


def _check_box(box: Box, where: str, height: int, width: int) -> bool:
    """Whether some of the box lies in the picture. Raises PromptError where it has no area."""
    corners = (box.x0, box.y0, box.x1, box.y1)
    if _finite(corners) and (box.x1 <= box.x0 or box.y1 <= box.y0):
        raise PromptError(f"{where} for object {box.name!r} has no area; give x0 < x1 and y0 < y1")
    return _finite(corners) and box.x0 < width and box.y0 < height and box.x1 > 0 and box.y1 > 0


def _check_mask(prompt: Mask, height: int, width: int) -> None:
    shape = prompt.mask.shape
    if shape != (height, width):
        size = "x".join(str(n) for n in shape[::-1])
        raise PromptError(f"the mask of object {prompt.name!r} has {size} pixels, the picture {width}x{height}; give a "
                          "mask of the displayed size")  # fmt: skip
    if prompt.mask.dtype != np.bool_:
        raise PromptError(f"the mask of object {prompt.name!r} is {prompt.mask.dtype}; give it as bool (mask > 0)")
    if not prompt.mask.any():
        raise PromptError(f"the mask of object {prompt.name!r} is empty; give one with the object in it")


def _finite(values: Iterable[float]) -> bool:
    return all(math.isfinite(value) for value in values)
