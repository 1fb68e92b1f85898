"""One frame as a picture to find coordinates in: a ruler, the prompts, and the masks they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image, ImageDraw

from trackmatte.palette import color
from trackmatte.render.color import Color
from trackmatte.render.outline import Outline
from trackmatte.render.overlay import Overlay
from trackmatte.render.region import object_regions
from trackmatte.render.ruler import Scale, add_grid, choose_scale, font, with_ruler
from trackmatte.types import Box, ObjectMasks, Point, Prompt, UInt8Array

SMALL = 240
_TINT = 0.45
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_ON, _BESIDE = (0, 160, 60), (215, 30, 30)
_SHIFT = 4  # OpenCV draws on sixteenths of a pixel


def preview_picture(image: UInt8Array, prompts: Sequence[Prompt] = (), masks: ObjectMasks | None = None) -> UInt8Array:
    """The frame with a ruler and faint lines, and on it the prompts and the masks.

    A click on an object is a green disc with a plus, one beside it a red disc with a minus. A mask is tinted in its
    object's palette colour and has a white edge. Names are written where there is more than one object.

    Args:
        image: (H, W, 3) RGB as displayed; is not changed.
        prompts: inside the picture.
        masks: of the prompted objects.

    Returns:
        A larger picture (H', W', 3), whose pixel (x, y) is the frame's; a frame of less than 240 pixels on its longer
        side is enlarged, each pixel to a square of the same whole number of them.
    """
    height, width = image.shape[:2]
    zoom = max(1, -(-SMALL // max(width, height)))
    scale = choose_scale(width, height, zoom=zoom)
    picture = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    if masks is not None:
        _show_masks(masks, picture, scale)
    add_grid(picture, scale)
    for prompt in sorted(prompts, key=lambda prompt: isinstance(prompt, Point)):  # clicks lie on top
        _draw(prompt, picture, scale, _colors(prompts)[prompt.name])
    return with_ruler(_named(picture, prompts, scale), scale)


def _show_masks(masks: ObjectMasks, picture: UInt8Array, scale: Scale) -> None:
    enlarged = replace(masks, masks=masks.masks.repeat(scale.zoom, axis=1).repeat(scale.zoom, axis=2))
    for change in (Overlay(_TINT), Outline(2 * scale.line, _WHITE)):
        for region in object_regions(enlarged):
            region.paste(change.changed(picture, region), picture)


def _colors(prompts: Sequence[Prompt]) -> dict[str, Color]:
    names = dict.fromkeys(prompt.name for prompt in prompts)
    return {name: color(number) for number, name in enumerate(names, start=1)}


def _draw(prompt: Prompt, picture: UInt8Array, scale: Scale, of_object: Color) -> None:
    if isinstance(prompt, Point):
        _draw_click(prompt, picture, scale)
    elif isinstance(prompt, Box):
        corners = _place(prompt.x0, prompt.y0, picture, scale), _place(prompt.x1, prompt.y1, picture, scale)
        for line, thick in ((_WHITE, 4), (of_object, 2)):
            cv2.rectangle(picture, *corners, line, thick * scale.line, cv2.LINE_AA, _SHIFT)


def _draw_click(point: Point, picture: UInt8Array, scale: Scale) -> None:
    x, y = _place(point.x, point.y, picture, scale)
    radius = round(scale.text * 0.5 * 2**_SHIFT)
    arm, thick = round(radius * 0.55), max(1, scale.text // 8)
    cv2.circle(picture, (x, y), round(radius * 1.25), _WHITE, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    cv2.circle(picture, (x, y), radius, _ON if point.positive else _BESIDE, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    cv2.line(picture, (x - arm, y), (x + arm, y), _WHITE, thick, cv2.LINE_AA, _SHIFT)
    if point.positive:
        cv2.line(picture, (x, y - arm), (x, y + arm), _WHITE, thick, cv2.LINE_AA, _SHIFT)


def _place(x: float, y: float, picture: UInt8Array, scale: Scale) -> tuple[int, int]:
    """A place, no further out than the picture, as OpenCV draws: from the first pixel's centre, in sixteenths."""
    height, width = picture.shape[:2]
    inside = min(max(x * scale.zoom, 0), width), min(max(y * scale.zoom, 0), height)
    return round((inside[0] - 0.5) * 2**_SHIFT), round((inside[1] - 0.5) * 2**_SHIFT)


def _named(picture: UInt8Array, prompts: Sequence[Prompt], scale: Scale) -> UInt8Array:
    """The picture with each object's name on a plate of its colour, beside its first prompt; as it is where one is."""
    colors = _colors(prompts)
    if len(colors) < 2:
        return picture
    first = {prompt.name: prompt for prompt in reversed(prompts)}
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    letters, pad = font(scale.text), scale.text // 4
    for name, plate in colors.items():
        x, y = (value * scale.zoom for value in _beside(first[name], scale))
        width, height = letters.getlength(name) + 2 * pad, scale.text + 2 * pad
        x = min(max(x, 0), max(0, image.width - width))
        y = min(max(y - height / 2, 0), max(0, image.height - height))
        draw.rectangle((x, y, x + width, y + height), plate, _WHITE, scale.line)
        draw.text((x + pad, y + height / 2), name, _WHITE if sum(plate) < 400 else _BLACK, letters, anchor="lm")
    return np.asarray(image)


def _beside(prompt: Prompt, scale: Scale) -> tuple[float, float]:
    """Where an object's name begins, in pixels of the clip: right of its click, or at its box's or mask's corner."""
    if isinstance(prompt, Point):
        return prompt.x + scale.text / scale.zoom, prompt.y
    if isinstance(prompt, Box):
        return prompt.x0, prompt.y0
    return float(prompt.mask.any(axis=0).argmax()), float(prompt.mask.any(axis=1).argmax())
