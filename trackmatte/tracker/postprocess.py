"""From the network's coarse logits to masks of the clip's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from trackmatte.kernels.transfer import Download
from trackmatte.types import BoolArray, Float32Array, UInt8Array

Overlap = Literal["exclusive", "allow"]
_FILLED = 0.1  # logit of a pixel of a filled hole


def fill_holes(logits: torch.Tensor, area: int) -> torch.Tensor:
    """Fills the small holes of masks, as `sam2.utils.misc.fill_holes_in_mask_scores` does on a GPU.

    Args:
        logits: (O, 1, h, w) float32; the object is where they are positive.
        area: background regions (8-connected) of at most so many pixels become object; 0 fills none.

    Returns:
        (O, 1, h, w) float32: on a CPU `logits` itself where there was nothing to fill, else a copy with 0.1 in the
        holes.
    """
    if area <= 0:
        return logits
    if logits.device.type != "cpu":
        return logits.masked_fill(small_holes(logits, area), _FILLED)
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


def small_holes(logits: torch.Tensor, area: int) -> torch.Tensor:
    """The holes that `fill_holes` fills, found by torch alone without waiting for the device: (O, 1, h, w) bool.

    Every pixel of the background takes the greatest number that its neighbours have, as many times as it takes to get
    from one end of a hole to the other. Who has the same number then is one hole, if none of them has a neighbour with
    another one; a larger region has such neighbours, or more pixels.
    """
    objects, _, height, width = logits.shape
    background = logits <= 0
    numbers = torch.arange(1, height * width + 1, dtype=torch.float32, device=logits.device).view(height, width)
    numbers = numbers * background
    for _ in range(area - 1):
        numbers = _greatest_near(numbers) * background
    least = -_greatest_near(torch.where(background, -numbers, -torch.inf))
    torn = (_greatest_near(numbers) != numbers) | (least != numbers)
    region = numbers.flatten(1).long()
    counts = torch.zeros(objects, height * width + 1, dtype=torch.int32, device=logits.device)
    counts.scatter_add_(1, region, 1 + area * torn.flatten(1).int())
    return background & (counts.gather(1, region) <= area).view_as(background)


def _greatest_near(planes: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(planes, 3, stride=1, padding=1)


class MaskMaker:
    """Makes masks of the clip's size on a CPU; keeps its working space, which would else be mapped anew each frame."""

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._planes: list[Float32Array] = []
        self._top = np.empty((height, width), np.float32)

    def __call__(self, logits: torch.Tensor, overlap: Overlap, out: BoolArray, places: Sequence[int]) -> None:
        """Writes the masks of objects that are present.

        Logits are enlarged as the reference does it: bilinear, with pixel centres at halves. That is OpenCV's work,
        which takes a seventh of torch's time; the two differ by rounding.

        Args:
            logits: (O, 1, h, w) float32.
            overlap: `exclusive` gives a pixel that several objects claim to the one with the highest logit, the first
                of equals; `allow` gives it to all.
            out: (N, H, W) bool, all False.
            places: O places on the first axis of `out`.
        """
        while len(self._planes) < len(places):
            self._planes.append(np.empty((self._height, self._width), np.float32))
        large, masks = self._planes[: len(places)], [out[place] for place in places]
        for small, plane, mask in zip(logits[:, 0].numpy(), large, masks, strict=True):
            cv2.resize(small, (self._width, self._height), dst=plane, interpolation=cv2.INTER_LINEAR)
            np.greater(plane, 0, out=mask)
        if overlap == "exclusive" and _overlap(masks):
            _separate(masks, large, self._top)


class SentMasks:
    """What `MaskMaker` makes, by torch alone, on its way from the device that holds the logits: a bit for a pixel."""

    def __init__(
        self, logits: torch.Tensor, scores: torch.Tensor, *, height: int, width: int, overlap: Overlap
    ) -> None:
        """Asks for the masks, of objects that are absent too.

        Args:
            logits: (O, 1, h, w) float32.
            scores: (O,) float32, logits that they are present.
            height, width: of the masks.
            overlap: see `MaskMaker`.
        """
        self._objects, self._height, self._width = len(logits), height, width
        large = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)[:, 0]
        masks = (large > 0) & (scores > 0)[:, None, None]
        if overlap == "exclusive" and len(large) > 1:
            owner = large.argmax(dim=0, keepdim=True)
            masks &= owner == torch.arange(len(large), device=large.device)[:, None, None]
        numbers = scores.sigmoid().contiguous().view(torch.uint8)
        self._download = Download(torch.cat([numbers, _bits(masks).flatten()]))

    def read(self) -> tuple[BoolArray, Float32Array]:
        """Waits for masks (O, H, W) bool and the probabilities that the objects are present, (O,)."""
        values, numbers, pixels = self._download.wait(), 4 * self._objects, self._height * self._width
        bits = values[numbers:].reshape(self._objects, -1)
        masks = np.unpackbits(bits, axis=1, count=pixels).view(np.bool_)
        return masks.reshape(self._objects, self._height, self._width), values[:numbers].copy().view(np.float32)


def _bits(masks: torch.Tensor) -> torch.Tensor:
    """(O, ...) bool to (O, N) uint8 as `np.packbits` packs each object's pixels."""
    planes = masks.flatten(1)
    eights = F.pad(planes, (0, -planes.shape[1] % 8)).view(len(planes), -1, 8)
    worth = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    return (eights * worth).sum(dim=-1, dtype=torch.uint8)


def _overlap(masks: Sequence[BoolArray]) -> bool:
    claimed = masks[0].copy()
    for mask in masks[1:]:
        if (claimed & mask).any():
            return True
        claimed |= mask
    return False


def _separate(masks: Sequence[BoolArray], large: Sequence[Float32Array], top: Float32Array) -> None:
    """Leaves each pixel of the masks, all (H, W), to the first of those with the highest logit, in place.

    `top` is working space of the same size.
    """
    top[...] = large[0]
    for plane in large[1:]:
        cv2.max(top, plane, dst=top)
    free = np.ones(top.shape, np.bool_)
    for mask, plane in zip(masks, large, strict=True):
        mask &= plane == top
        mask &= free
        free &= ~mask
