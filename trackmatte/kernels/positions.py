"""Position encodings computed once.

`sam2`'s sine encoding caches its map but copies it at every call: 16 million numbers a frame for SAM 2.1's finest
level, which nothing reads. The twin here hands out the same stored tensor; its values are those of the eager module.
"""

from __future__ import annotations

import torch
from torch import nn


class StoredPosition(nn.Module):
    """Stands in for `sam2.modeling.position_encoding.PositionEmbeddingSine` where inputs keep their size."""

    def __init__(self, eager: nn.Module) -> None:
        """Args: eager: the module whose values are stored; it has no parameters."""
        super().__init__()
        self._eager = eager
        self._stored: dict[tuple[int, int, torch.dtype, torch.device], torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The encoding for a map of the size of `x`.

        Args:
            x: (B, C, H, W), of which only size, dtype and device count.

        Returns:
            (1, P, H, W) of x's dtype; the same tensor at every call, not to be written to.
        """
        key = (x.shape[-2], x.shape[-1], x.dtype, x.device)
        if key not in self._stored:
            self._stored[key] = self._eager(x[:1]).to(x.dtype)
        return self._stored[key]
