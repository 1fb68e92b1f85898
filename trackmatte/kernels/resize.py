"""Pillow's bicubic resize of bytes by torch, bit for bit, for devices that have it done before they could be sent less.

Pillow weighs the pixels of a row by whole numbers, rounds the sums to bytes, and then does the same with columns
(`src/libImaging/Resample.c`, MIT-CMU licence); so does this, tap by tap for all pixels at once.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from trackmatte.kernels.pixels import resize_square
from trackmatte.kernels.transfer import upload

_BITS = 22  # of a weight after the point
_TRIED = 48  # rows and columns of a picture that are compared with Pillow's
Axes = tuple[int, ...]
FloatArray = npt.NDArray[np.float64]


class Resizer:
    """Makes squares of pictures of one size as `resize_square` does, on the device if what comes out is the same."""

    def __init__(self, height: int, width: int, size: int, device: torch.device) -> None:
        """Tries a picture, where the device is no CPU: releases of Pillow differ in which axis comes first."""
        self._size, self._device = size, device
        self._axes = None if device.type == "cpu" else axes_of_pillow(height, width, size)

    def __call__(self, image: npt.NDArray[np.uint8]) -> torch.Tensor:
        """(H, W, 3) to (size, size, 3), both uint8, on the device."""
        if self._axes is None:
            return upload(resize_square(image, self._size), self._device)
        return resized(upload(image, self._device), self._size, self._axes)


def resized(image: torch.Tensor, size: int, axes: Axes) -> torch.Tensor:
    """Resizes one axis after the other.

    Args:
        image: (H, W, 3) uint8.
        size: side of the square, pixels.
        axes: 0 and 1 in the order in which Pillow takes them.
    """
    for axis in axes:
        if image.shape[axis] != size:
            image = _resample(image, axis, *_taps(image.shape[axis], size, image.device))
    return image


@lru_cache(maxsize=16)
def axes_of_pillow(height: int, width: int, size: int) -> Axes | None:
    """The order in which this Pillow resizes the axes of such a picture; None if it is not what we know.

    Looked at are some rows and columns of noise.
    """
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    some = np.unique(np.linspace(0, size - 1, _TRIED).astype(np.int64))
    expected = torch.from_numpy(resize_square(noise, size)[np.ix_(some, some)])
    for axes in ((1, 0), (0, 1)):
        image = torch.from_numpy(noise)
        for axis in axes:
            if image.shape[axis] == size:
                image = image.index_select(axis, torch.from_numpy(some))
            else:
                places, weights = _taps(image.shape[axis], size, image.device)
                image = _resample(image, axis, places[:, some], weights[:, some])
        if torch.equal(image, expected):
            return axes
    return None


def _resample(image: torch.Tensor, axis: int, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Bytes along one axis. Args: places, weights: (K, N) int32, of each tap for each new pixel."""
    shape = (-1, 1) if axis == 1 else (-1, 1, 1)
    total = image.new_full((1,), 1 << (_BITS - 1), dtype=torch.int32)
    for place, weight in zip(places, weights, strict=True):
        total = image.index_select(axis, place) * weight.view(shape) + total
    return (total >> _BITS).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=16)
def _taps(before: int, after: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pixels count for each new one, and how much: two of (K, after) int32."""
    scale = before / after
    stretch = max(scale, 1.0)
    reach = 2 * stretch
    taps = np.arange(math.ceil(reach) * 2 + 1)[:, None]
    centre = (np.arange(after) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + reach + 0.5).astype(np.int64), before) - first
    weights = np.where(taps < count, _bicubic((taps + first - centre + 0.5) / stretch), 0.0)
    weights /= np.cumsum(weights, axis=0)[-1]  # in the order in which Pillow sums
    whole = np.trunc(weights * 2**_BITS + np.copysign(0.5, weights)).astype(np.int32)
    places = np.minimum(first + taps, before - 1).astype(np.int32)
    return upload(places, device), upload(whole, device)


def _bicubic(x: FloatArray) -> FloatArray:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
