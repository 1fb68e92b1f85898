"""Masks as pictures: a matte, and straight alpha."""

from __future__ import annotations

import cv2
import numpy as np

from trackmatte.types import ImageArray, ObjectMasks, UInt8Array


def matte(masks: ObjectMasks) -> UInt8Array:
    """(H, W) uint8: 255 where any object is, else 0."""
    white: UInt8Array = masks.union().view(np.uint8) * np.uint8(255)
    return white


def straight_alpha(image: ImageArray, masks: ObjectMasks) -> ImageArray:
    """(H, W, 3) RGB to (H, W, 4) RGBA of the same dtype: fully opaque where any object is, else transparent.

    The colour is the source's everywhere, also where alpha is 0, so that an edge can be softened later.
    """
    opaque = masks.union().astype(image.dtype) * np.asarray(np.iinfo(image.dtype).max, image.dtype)
    rgba = np.empty((*image.shape[:2], 4), image.dtype)
    cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=rgba)
    cv2.insertChannel(opaque, rgba, 3)
    return rgba
