"""Norm over channels of maps whose channels lie last in memory, in one pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

FEW = 16  # channels, of which fewer are summed faster plane by plane


class TokenNorm(nn.Module):
    """A norm over channels, of tokens."""

    def __init__(self, eager: nn.Module) -> None:
        """Args: eager: with (C,) `weight` and `bias`, and `eps`."""
        super().__init__()
        self._weight, self._bias = torch.as_tensor(eager.weight), torch.as_tensor(eager.bias)
        self._eps = float(torch.as_tensor(eager.eps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) to the same."""
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias, self._eps)


class ChannelNorm(nn.Module):
    """Stands in for `sam2`'s LayerNorm2d, which makes six passes over a map."""

    def __init__(self, eager: nn.Module) -> None:
        """Args: eager: see `TokenNorm`."""
        super().__init__()
        self._eager, self._norm = eager, TokenNorm(eager)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same; the result's channels lie last where x's do, if there are not few."""
        if x.shape[1] < FEW:
            return torch.as_tensor(self._eager(x.contiguous()))
        return torch.as_tensor(self._norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
