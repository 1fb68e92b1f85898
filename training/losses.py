"""The losses of the SAM 2 paper, on raw mask logits and soft targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossWeights:
    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    presence: float = 2.0
    absent: float = 3.0  # how much a frame without the object counts in it, as there are few
    single: float = 1.0  # the single-mask token beside the best of three
    auxiliary: float = 1.0


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss for a coverage in [0, 1], mean over the last two axes; least where sigmoid(logits) = target."""
    error = (torch.sigmoid(logits) - target).abs()
    return (0.5 * error.square() * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean((-2, -1))


def dice(logits: Tensor, target: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    overlap = (p * target).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (p.sum((-2, -1)) + target.sum((-2, -1)) + 1)


def iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of the thresholded masks; 1 where both are empty."""
    a, b = logits > 0, target > 0.5
    union = (a | b).sum((-2, -1)).float()
    return torch.where(union > 0, (a & b).sum((-2, -1)) / union.clamp(min=1), torch.ones_like(union))


def frame_loss(
    masks: Tensor, ious: Tensor, score: Tensor, auxiliaries: list[Tensor], target: Tensor, weights: LossWeights
) -> Tensor:
    """The loss of N objects at one frame.

    masks (N, 4, h, w): raw logits of the single-mask token and of the three others. ious (N, 4). score (N, 1).
    auxiliaries: (N, h, w) each. target (N, h, w): coverage. Where the object is absent only `score` and `auxiliaries`
    count.
    """
    present = (target > 0.5).flatten(1).any(1).float()
    goal = target[:, None].expand_as(masks)
    shape = weights.focal * focal(masks, goal) + weights.dice * dice(masks, goal)
    quality = (ious - iou(masks.detach(), goal)).abs().mean(1)
    mask_loss = shape[:, 1:].min(1).values + weights.single * shape[:, 0] + weights.iou * quality
    count = present.sum().clamp(min=1)
    total = (mask_loss * present).sum() / count
    rarity = torch.where(present > 0, 1.0, weights.absent)
    total = total + weights.presence * F.binary_cross_entropy_with_logits(score[:, 0], present, rarity)
    for auxiliary in auxiliaries:
        aux = F.binary_cross_entropy_with_logits(auxiliary, target, reduction="none").mean((-2, -1))
        total = total + weights.auxiliary * (aux + dice(auxiliary, target) * present).mean()
    return total
