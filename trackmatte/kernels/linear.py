"""Two linear layers with an activation between, in pieces that stay in the cache.

torch computes the wide layer of all tokens at once and writes it to memory that it maps anew (for SAM 2.1's first
block, 100 MB), then the activation in another pass. On a CPU the twin's weights are laid out for oneDNN once, which
applies the activation in the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

logger = logging.getLogger(__name__)
PIECE = 1024  # tokens of a piece
Activation = Literal["relu", "gelu"]
_EAGER: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class PackedLinear(nn.Module):
    """A linear layer, and the activation that follows it, on a CPU."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, activation: Activation | None = None) -> None:
        """Args: weight: (C', C) float32 or bfloat16. bias: (C',) of the same format. activation: what follows."""
        super().__init__()
        self._activation = activation
        self._bias = bias.detach().clone()
        self._weight = weight.detach().clone()
        self._packed = _pack(self._weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) of any format to (..., C') of the weight's."""
        x = x.to(self._weight.dtype)
        if self._packed is None:
            x = F.linear(x, self._weight, self._bias)
            return _EAGER[self._activation](x) if self._activation else x
        linear = torch.ops.mkldnn._linear_pointwise
        return torch.as_tensor(linear(x, self._packed, self._bias, self._activation or "none", [], "none"))


class Feedforward(nn.Module):
    """Adds `second(activation(first(x)))` to what is there already."""

    def __init__(self, first: nn.Linear, second: nn.Linear, activation: Activation, dtype: torch.dtype) -> None:
        """Args: first, second: the layers. dtype: the format to compute in, float32 or bfloat16."""
        super().__init__()
        self._first = PackedLinear(first.weight.to(dtype), first.bias.to(dtype), activation)
        self._second = PackedLinear(second.weight.to(dtype), second.bias.to(dtype))

    def forward(self, x: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
        """Args: x: (..., C). onto: (..., C) float32, contiguous, changed in place. Returns: `onto`."""
        pieces = torch.split(x.flatten(0, -2), PIECE), torch.split(onto.view(-1, onto.shape[-1]), PIECE)
        for piece, place in zip(*pieces, strict=True):
            place += self._second(self._first(piece))
        return onto


def _pack(weight: torch.Tensor) -> torch.Tensor | None:
    """The weight in oneDNN's own layout; None where this torch can't, which is said in the log."""
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, PIECE)
        torch.ops.mkldnn._linear_pointwise(weight.new_zeros(1, weight.shape[1]), packed, None, "none", [], "none")
    except (AttributeError, RuntimeError) as exc:
        logger.warning("linear layers are not packed, running eagerly: %s", str(exc).strip().split("\n")[0])
        return None
    return torch.as_tensor(packed)
