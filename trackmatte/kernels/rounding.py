"""Batches that round as single objects do.

Matrix products over a few tokens are summed in another order for eight rows than for thirty-two. The differences are of
the size of rounding, but memory keeps maps in bfloat16: where one tips a value to its neighbour, it grows ten
thousandfold. So in float32 on a CPU the mask decoder's small products run object by object inside the batch; its large
ones, attention and convolutions round alike whatever the batch.
"""

from __future__ import annotations

import torch
from torch import nn


class OneByOne(nn.Module):
    """Runs a small module object by object, so that a batch's results are, bit for bit, those of each object alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ...) to (B, ...), B times a batch of one."""
        if len(x) == 1:
            return torch.as_tensor(self.module(x))
        return torch.cat([self.module(x[i : i + 1]) for i in range(len(x))])


class Planar(nn.Module):
    """Runs a module on a map in torch's plain layout, which a batch of one has where a larger one is channels last."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        return torch.as_tensor(self.module(x.contiguous()))
