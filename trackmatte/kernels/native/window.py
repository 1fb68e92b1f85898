"""Attention within windows, with its norm and projections, by the kernel of `window_tiles.cpp`.

Its eager twin is the first half of `sam2`'s MultiScaleBlock.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from trackmatte.kernels.native.build import Engine, kernel
from trackmatte.kernels.native.linear import ALONG, NormArguments, packed

MOST = 256  # tokens of a window


class WindowAttention(nn.Module):
    """Adds what the tokens of each window find in it to them, or, where they are pooled, to their shortcut."""

    def __init__(
        self,
        norm: nn.Module,
        qkv: nn.Linear,
        out: nn.Linear,
        shortcut: nn.Linear | None,
        *,
        heads: int,
        side: int,
        engine: Engine,
    ) -> None:
        """Prepares the layers.

        Args:
            norm: over channels, what comes first.
            qkv, out: C to 3 * C', and C' to C'.
            shortcut: C to C', where of 2x2 queries, and of its results, only the greatest are kept.
            heads: of which queries, keys and values consist.
            side: tokens of a window are side * side, `MOST` or fewer.
            engine: one of tiles.
        """
        super().__init__()
        assert side * side <= MOST
        width = qkv.out_features // (3 * heads)
        missing = -width % ALONG  # of a head, that all of them begin with a tile
        weight = qkv.weight.detach().view(3, heads, width, -1)
        bias = qkv.bias.detach().view(3, heads, width)
        scale = torch.tensor([width**-0.5 / math.log(2), 1.0, 1.0])[:, None, None]
        self._norm = NormArguments(norm)
        self._layers = [
            packed(
                F.pad(weight * scale[..., None], (0, 0, 0, missing)).flatten(0, 2),
                F.pad(bias * scale, (0, missing)).flatten(),
                engine,
            ),
            packed(F.pad(out.weight.detach().view(-1, heads, width), (0, missing)).flatten(1), out.bias, engine),
        ]
        if shortcut is not None:
            self._layers.append(packed(shortcut.weight, shortcut.bias, engine))
        pointers = [pointer for layer in self._layers for pointer in layer.arguments[:2]]
        self._arguments = *pointers, *[None] * (6 - len(pointers)), heads, width + missing, out.out_features, side
        self._run = kernel("window", engine)

    def forward(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Args: x: (1, H, W, C) float32. out: (1, h, w, C'), filled; `x` itself, if there is no shortcut."""
        assert x.is_contiguous()
        assert out.is_contiguous()
        shape = *x.shape[1:], *self._norm.arguments
        self._run(x.data_ptr(), *shape, *self._arguments, out.data_ptr(), torch.get_num_threads())
        return out
