"""The table of effects, and how one is named: `EFFECT[:ARGUMENT]`.

Effects on objects leave all pixels outside the objects as they are; effects on the background leave the objects'.
Where no object is there, the first leave the whole picture as it is, and to the second all of it is background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np
from PIL import ImageColor

from trackmatte.errors import UsageError
from trackmatte.render.blur import Blur
from trackmatte.render.color import Color
from trackmatte.render.fill import Fill
from trackmatte.render.grayscale import Grayscale
from trackmatte.render.outline import Outline
from trackmatte.render.overlay import Overlay
from trackmatte.render.pixelate import Pixelate
from trackmatte.render.region import Change, Region, background_region, object_regions
from trackmatte.render.replace import Replace, read_picture
from trackmatte.types import ImageArray, ObjectMasks

Regions = Callable[[ObjectMasks], Iterator[Region]]


@dataclass(frozen=True, slots=True)
class Effect:
    """A change and the regions that it applies to."""

    change: Change
    regions: Regions

    def apply(self, image: ImageArray, masks: ObjectMasks) -> ImageArray:
        """The picture with the effect.

        Args:
            image: (H, W, 3) RGB uint8 or uint16; is not changed.
            masks: of the same size (H, W).

        Returns:
            A new picture of the same shape and dtype; pixels outside the regions are bit-identical.

        Raises:
            UsageError: the image is no picture of the masks' size.
        """
        if not isinstance(image, np.ndarray):
            raise UsageError(f"a picture was expected, not {type(image).__name__}; results have one with frames=True")
        if image.shape != (*masks.masks.shape[1:], 3):
            raise UsageError(f"the picture is {image.shape}, the masks are {masks.masks.shape[1:]}; give (H, W, 3)")
        result: ImageArray = image.copy()
        for region in self.regions(masks):
            region.paste(self.change.changed(result, region), result)
        return result


@dataclass(frozen=True, slots=True)
class EffectKind:
    """An entry of the table.

    Attributes:
        build: makes the change from the argument, None where none was given; ValueError for one that it can't use.
        regions: what the effect applies to.
        argument: what stands after the colon, as shown to people; empty where nothing may.
        takes: the argument in words.
        help: one line.
    """

    build: Callable[[str | None], Change]
    regions: Regions
    help: str
    argument: str = ""
    takes: str = "no argument"


def parse_effect(text: str) -> Effect:
    """The effect that `EFFECT[:ARGUMENT]` names, such as `overlay`, `blur:25` or `fill-background:#00ff00`.

    Raises:
        UsageError: there is no such effect, or it does not take that argument.
    """
    name, colon, argument = text.partition(":")
    kind = EFFECTS.get(name)
    if kind is None:
        raise UsageError(f"there is no effect {name!r}; give one of: {', '.join(EFFECTS)}")
    try:
        change = kind.build(argument if colon else None)
    except ValueError as exc:
        raise UsageError(f"effect {text!r}: {name} takes {kind.takes}; write {_form(name, kind)}") from exc
    return Effect(change, kind.regions)


def describe_effects() -> str:
    """One line for each effect: how to write it, and what it does."""
    return "\n".join(f"{_form(name, kind):32} {kind.help}" for name, kind in EFFECTS.items())


def _form(name: str, kind: EffectKind) -> str:
    return f"{name}{kind.argument}"


def _number(text: str, low: float, high: float = float("inf")) -> float:
    value = float(text)
    if not (isfinite(value) and low <= value <= high):
        raise ValueError(text)
    return value


def _whole(text: str, low: int) -> int:
    value = int(text)
    if value < low:
        raise ValueError(text)
    return value


def _color(text: str) -> Color:
    red, green, blue, *alpha = ImageColor.getrgb(text)
    if alpha:
        raise ValueError(text)
    return red, green, blue


def _overlay(argument: str | None) -> Change:
    return Overlay() if argument is None else Overlay(_number(argument, 0, 1))


def _outline(argument: str | None) -> Change:
    if argument is None:
        return Outline()
    if argument[:1].isdigit():
        return Outline(thickness=_number(argument, 1))
    return Outline(color=_color(argument))


def _blur(argument: str | None) -> Change:
    return Blur() if argument is None else Blur(_number(argument, 0.5))


def _pixelate(argument: str | None) -> Change:
    return Pixelate() if argument is None else Pixelate(_whole(argument, 2))


def _grayscale(argument: str | None) -> Change:
    if argument is not None:
        raise ValueError(argument)
    return Grayscale()


def _fill_with(default: Color) -> Callable[[str | None], Change]:
    return lambda argument: Fill(default if argument is None else _color(argument))


def _replace(argument: str | None) -> Change:
    if not argument:
        raise ValueError(argument)
    return Replace(read_picture(argument))


_OPACITY = "an opacity from 0 to 1, for example 0.5"
_LINE = "a thickness in pixels, from 1, or a colour, for example 3 or #ffffff"
_RADIUS = "a radius in pixels, from 0.5, for example 25"
_BLOCK = "a block's side in whole pixels, from 2, for example 16"
_COLOR = "a colour, for example #00ff00 or white"
_IMAGE = "an image file"

EFFECTS: dict[str, EffectKind] = {
    "overlay": EffectKind(_overlay, object_regions, "each object tinted in its palette colour", "[:OPACITY]", _OPACITY),
    "outline": EffectKind(
        _outline, object_regions, "a line along each object's edge, inside it", "[:PIXELS|:#RRGGBB]", _LINE
    ),
    "blur": EffectKind(_blur, object_regions, "objects blurred beyond recognition", "[:RADIUS]", _RADIUS),
    "pixelate": EffectKind(_pixelate, object_regions, "objects in large square blocks", "[:BLOCK]", _BLOCK),
    "grayscale": EffectKind(_grayscale, object_regions, "objects without colour"),
    "fill": EffectKind(_fill_with((0, 0, 0)), object_regions, "objects painted over, in black", "[:#RRGGBB]", _COLOR),
    "cutout": EffectKind(
        _fill_with((0, 0, 0)), background_region, "objects alone, on plain black", "[:#RRGGBB]", _COLOR
    ),
    "blur-background": EffectKind(_blur, background_region, "all but the objects blurred", "[:RADIUS]", _RADIUS),
    "pixelate-background": EffectKind(
        _pixelate, background_region, "all but the objects in square blocks", "[:BLOCK]", _BLOCK
    ),
    "grayscale-background": EffectKind(_grayscale, background_region, "all but the objects without colour"),
    "fill-background": EffectKind(
        _fill_with((0, 255, 0)), background_region, "objects on a plain colour, green", "[:#RRGGBB]", _COLOR
    ),
    "replace-background": EffectKind(
        _replace, background_region, "objects before another picture, which is fitted to cover", ":IMAGE", _IMAGE
    ),
}
