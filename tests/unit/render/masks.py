"""Masks and pictures for the tests of rendering."""

from fractions import Fraction

import numpy as np

from trackmatte.types import ObjectMasks


def object_masks(*masks):
    """ObjectMasks of (H, W) bool masks, named 1, 2, ..."""
    stack = np.stack([np.asarray(mask, bool) for mask in masks])
    count = len(stack)
    return ObjectMasks(
        index=0,
        pts=0,
        time_base=Fraction(1, 25),
        names=tuple(str(number + 1) for number in range(count)),
        masks=stack,
        scores=np.ones(count, np.float32),
        present=stack.any(axis=(1, 2)),
        seeded=np.ones(count, bool),
    )


def noise(height, width, dtype=np.uint8, seed=0):
    """A picture (H, W, 3) of random values over the whole range."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype, endpoint=True)


def box_mask(height, width, top, left, bottom, right):
    """(H, W) bool, True in a box."""
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask
