"""Padding, convolution, batch norm and ReLU6 with one copy of the map less at each of two steps; the same bits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class LeanConvolution(nn.Module):
    """Does what `F.pad`, a convolution, a batch norm and ReLU6 do one after another, for inference."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.Module, *, clamp: bool) -> None:
        """Args: convolution: with its padding in it. norm: applied next. clamp: whether ReLU6 follows."""
        super().__init__()
        self.convolution = convolution
        self.norm = norm
        self.clamp = clamp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        x = torch.as_tensor(self.norm(self.convolution(x)))
        return x.clamp_(0, 6) if self.clamp else x


@torch.no_grad()
def absorb_padding(convolution: nn.Conv2d, pad: tuple[int, int, int, int]) -> nn.Conv2d:
    """A convolution that pads by itself where its input was padded unevenly before.

    Padding more at the right and below than at the left and above is what a kernel does that is larger by as much, with
    zeros in its first columns and rows. The zeros cost a few products and spare a copy of the map.

    Args:
        convolution: square, without padding of its own and without bias.
        pad: left, right, above and below of its input; left equals above, right equals below, left <= right.
    """
    left, right = pad[:2]
    weight = F.pad(convolution.weight, (right - left, 0, right - left, 0))
    absorbed = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (weight.shape[2], weight.shape[3]),
        (convolution.stride[0], convolution.stride[1]),
        right,
        groups=convolution.groups,
        bias=False,
        device=weight.device,
        dtype=weight.dtype,
    )
    absorbed.weight.copy_(weight)
    return absorbed
