"""Masks as image files: what is the object in them.

An image is taken as the first of these that it is:

1. Where an alpha channel is not opaque everywhere, it is the mask, soft.
2. An indexed image whose colours are shades, that is greys, two colours, or a row of mixtures of two, is a picture of
   one object: its brightness is the mask, soft, whatever the indices are.
3. Any other indexed image holds labels: each index but 0 is an object, named by its number; 255, DAVIS's mark for
   pixels to ignore, is left out where there are others. More than 64 are refused, unless the user gives one name.
4. Of any other image, brightness (the brightest channel) is the mask: non-zero is the object, unless it is soft.

A soft mask has its edge at half of white. A picture under 4 is soft where it is at least half as bright as white and
is a JPEG, has no black at all, has 16 levels or more between black and its brightest, or has fewer of which most
pixels lie between a darker and a brighter one: an edge, no area. So 0 and 1, 0 and 255, and small numbers for labels
are all taken as non-zero, an antialiased, blurred or lossy mask at half. What is white in images of other depths than
8 bits, `stills` says.

DAVIS's palette always holds labels. So does a row of greys of which none but 255 is brighter than 64 (labels that were
saved without a palette), an image of two indices whose palette declares more colours than a row of mixtures, and one
whose index 0 is transparent and all others opaque. What else is transparent in a palette is an alpha channel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trackmatte.errors import PromptError
from trackmatte.io.stills import Pixels, Still, UnreadableImage, brightest, read_still, white_level
from trackmatte.palette import davis_palette
from trackmatte.types import BoolArray, Float32Array, UInt8Array

VOID = 255
MAX_UNNAMED = 64
_LEVELS = 16
_OFF_LINE = 4  # of 255: how far a rounded mixture of two colours may lie from the line between them


def read_mask(path: str | Path, *, named: bool = False) -> list[tuple[str | None, BoolArray]]:
    """Reads the mask, or the masks, of an image file, by the rules above.

    Args:
        path: the image file.
        named: the user has named the object: there is one, labels are put together.

    Returns:
        (name, mask) pairs: (H, W) bool, upright, none of them empty; the name is None but for labels.

    Raises:
        PromptError: the file can't be read as an image, no pixel is set, or it has more labels than objects likely are.
    """
    try:
        still = read_still(path)
    except UnreadableImage as exc:
        raise PromptError(f"mask {path} can't be used: {exc}; give an image file such as a PNG") from exc
    labels = read_labels(still)
    if labels is None:
        mask = object_mask(still)
        masks: list[tuple[str | None, BoolArray]] = [(None, mask)] if mask.any() else []
    else:
        masks = _objects(labels, path, named=named)
    if not masks:
        raise PromptError(f"mask {path} is empty: no pixel is set; give an image in which the object is not black")
    return masks


def _objects(labels: UInt8Array, path: str | Path, *, named: bool) -> list[tuple[str | None, BoolArray]]:
    found = [int(index) for index in np.unique(labels) if index]
    if found == [VOID]:
        return [(None, labels == VOID)]
    found = [index for index in found if index != VOID]
    if named:
        return [(None, np.isin(labels, found))] if found else []
    if len(found) > MAX_UNNAMED:
        raise PromptError(
            f"mask {path} has {len(found)} colours, too many to be objects; if it shows one object, name it: "
            f"NAME={path}; else give a mask for each, or a grey one"
        )
    return [(str(index), labels == index) for index in found]


def read_labels(still: Still) -> UInt8Array | None:
    """The (H, W) indices of an image that holds labels, rule 3 above; None where it is of another kind."""
    if still.palette is None:
        return None
    used = np.unique(still.pixels)
    alpha = still.palette[used, 3]
    if alpha.min() < 255:
        return still.pixels if used[0] == alpha[0] == 0 and (alpha[1:] == 255).all() else None
    return still.pixels if _shades(still.palette, still.colors, used) is None else None


def _shades(palette: UInt8Array, colors: int, used: npt.NDArray[Any]) -> Float32Array | None:
    """How bright each index is, in 0..1 from the darkest to the brightest colour; None where the palette has labels."""
    rgb = palette[:, :3]
    if rgb[:colors].tobytes() == davis_palette()[: 3 * colors] and colors > 2:
        return None
    shown = rgb[used] if len(used) > 2 else rgb[:colors]
    if not len(shown):  # a palette without colours
        return None
    order = shown.sum(axis=1, dtype=int)
    dark, bright = shown[order.argmin()].astype(float), shown[order.argmax()].astype(float)
    way = bright - dark
    length = float(way @ way)
    if not length:
        return None
    along = (rgb - dark) @ way / length
    off = np.abs(rgb - dark - along[:, None] * way).max(axis=1)
    if off[used].max() > _OFF_LINE or (len(used) <= 2 and off[:colors].max() > _OFF_LINE):
        return None
    if len(np.unique(shown, axis=0)) > 2 and rgb[used[used != VOID]].max(initial=0) <= MAX_UNNAMED:
        return None
    return np.asarray(along, np.float32)


def object_mask(still: Still) -> BoolArray:
    """(H, W) bool of an image that holds no labels: rules 1, 2 and 4 above."""
    if still.palette is not None:
        used = np.unique(still.pixels)
        alpha = still.palette[:, 3]
        if alpha[used].min() < 255:
            return np.asarray((alpha >= 128)[still.pixels])
        shades = _shades(still.palette, still.colors, used)
        assert shades is not None  # else it holds labels
        return np.asarray((shades >= 0.5)[still.pixels])
    if still.alpha is not None:
        white = white_level(still.alpha.dtype, brightest(still.alpha))
        if still.alpha.min() < white:
            return np.asarray(still.alpha >= white / 2)
    level = still.pixels if still.pixels.ndim == 2 else still.pixels.max(axis=2)
    white = white_level(level.dtype, brightest(level))
    return np.asarray(level >= white / 2 if still.lossy or is_soft(level, white) else level > 0)


def is_soft(level: Pixels, white: float) -> bool:
    """Whether a grey picture, (H, W), is a soft mask: rule 4 above."""
    level = np.where(level > 0, level, 0)  # NaN and what lies below black are black
    top = float(level.max())
    if top < white / 2:
        return False
    if level.min() > 0:
        return True
    levels = np.unique(level)
    between = levels[(levels > 0) & (levels < top)]
    if len(between) >= _LEVELS and between[-1] >= white / 2:
        return True
    return len(between) > 0 and _lines_edges((level > 0) & (level < top), level)


def _lines_edges(between: BoolArray, level: Pixels) -> bool:
    """Whether most of the pixels `between`, (H, W), have a darker and a brighter one among their eight neighbours."""
    order = np.searchsorted(np.unique(level), level).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    edge = (cv2.erode(order, kernel) < order) & (cv2.dilate(order, kernel) > order)
    return bool(np.count_nonzero(edge & between) * 2 > np.count_nonzero(between))
