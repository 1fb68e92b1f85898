"""Norm over channels of maps whose channels lie last in memory, in one pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

FEW = 16  # channels, of which fewer are summed faster plane by plane


class ChannelNorm(nn.Module):
    """Stands in for `sam2`'s LayerNorm2d, which makes six passes over a map."""

    def __init__(self, eager: nn.Module) -> None:
        """Args: eager: with (C,) `weight` and `bias`, and `eps`."""
        super().__init__()
        self._eager = eager
        self._weight, self._bias = torch.as_tensor(eager.weight), torch.as_tensor(eager.bias)
        self._eps = float(torch.as_tensor(eager.eps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same; the result's channels lie last where x's do, if there are not few."""
        if x.shape[1] < FEW:
            return torch.as_tensor(self._eager(x.contiguous()))
        last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self._weight, self._bias, self._eps)
        return last.permute(0, 3, 1, 2)
