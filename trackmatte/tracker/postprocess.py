"""From the network's coarse logits to masks of the clip's size."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from trackmatte.types import BoolArray, UInt8Array

Overlap = Literal["exclusive", "allow"]
_FILLED = 0.1  # logit of a pixel of a filled hole


def fill_holes(logits: torch.Tensor, area: int) -> torch.Tensor:
    """Fills the small holes of masks, as `sam2.utils.misc.fill_holes_in_mask_scores` does on a GPU.

    Args:
        logits: (O, 1, h, w) float32; the object is where they are positive.
        area: background regions (8-connected) of at most so many pixels become object; 0 fills none.

    Returns:
        (O, 1, h, w) float32: `logits` itself where there was nothing to fill, else a copy with 0.1 in the holes.
    """
    if area <= 0:
        return logits
    background = (logits[:, 0] <= 0).to(torch.uint8).cpu().numpy()
    holes = np.stack([_small_regions(plane, area) for plane in background])
    if not holes.any():
        return logits
    return logits.masked_fill(torch.from_numpy(holes).to(logits.device)[:, None], _FILLED)


def _small_regions(plane: UInt8Array, area: int) -> BoolArray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= area
    small[0] = False  # label 0 is the foreground
    return np.asarray(small[labels] if small.any() else np.zeros(plane.shape, np.bool_))


def upsample(logits: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Enlarges logits to the clip's size, bilinear with pixel centres at halves.

    Args:
        logits: (O, 1, h, w) float32.

    Returns:
        (O, H, W) float32.
    """
    return F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def to_masks(logits: torch.Tensor, *, height: int, width: int, overlap: Overlap) -> BoolArray:
    """The masks of objects that are present.

    Args:
        logits: (O, 1, h, w) float32, O at least 1.
        overlap: `exclusive` gives a pixel that several objects claim to the one with the highest logit, the first of
            equals; `allow` gives it to all.

    Returns:
        (O, H, W) bool.
    """
    large = upsample(logits, height, width)
    masks = large > 0
    if overlap == "exclusive" and len(large) > 1:
        owner = large.argmax(dim=0, keepdim=True)
        masks &= owner == torch.arange(len(large), device=large.device)[:, None, None]
    return np.asarray(masks.cpu().numpy())
