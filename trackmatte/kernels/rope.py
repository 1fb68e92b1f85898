"""Rotary position encoding with real numbers, from tables made once.

`sam2` turns queries and keys into complex numbers and back at every call, pairing neighbouring channels. Here a pair is
channel i of the first half and channel i of the second: `halves` brings the rows of a projection into that order, which
changes no product of a query with a key.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """Cosines and sines of the angles by which the channels of T tokens turn, each (T, C / 2)."""

    cosine: torch.Tensor
    sine: torch.Tensor

    def repeat(self, times: int) -> Rotation:
        """The same for several maps of T tokens one after another."""
        return Rotation(self.cosine.repeat(times, 1), self.sine.repeat(times, 1))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Turns tokens.

        Args:
            x: (B, T, C), channels in halves.
        """
        first, second = x.chunk(2, dim=-1)
        out = torch.empty_like(x)
        half = x.shape[-1] // 2
        torch.mul(first, self.cosine, out=out[..., :half]).addcmul_(second, self.sine, value=-1)
        torch.mul(first, self.sine, out=out[..., half:]).addcmul_(second, self.cosine)
        return out


def rotation(turns: torch.Tensor, side: int, *, pool: int = 1, dtype: torch.dtype = torch.float32) -> Rotation:
    """The table for a square map, or for the means of its cells of `pool` x `pool` tokens.

    Args:
        turns: (side * side, C / 2) complex, of magnitude 1, as `sam2`'s `compute_axial_cis` gives them.
        side: of the map, a multiple of `pool`.
        pool: 1 for the map itself. The mean of a cell's turned tokens is, where the tokens are alike, their mean turned
            by the mean of the turns.
    """
    maps = torch.view_as_real(turns).permute(2, 1, 0).reshape(2, -1, side, side)  # 2, C / 2, side, side
    cosine, sine = F.avg_pool2d(maps, pool).flatten(2).mT.to(dtype) if pool > 1 else maps.flatten(2).mT.to(dtype)
    return Rotation(cosine.contiguous(), sine.contiguous())


def halves(rows: torch.Tensor) -> torch.Tensor:
    """A projection's weight (C, ...) or bias (C,) with even output channels first and odd ones after them."""
    return torch.cat([rows[0::2], rows[1::2]])
