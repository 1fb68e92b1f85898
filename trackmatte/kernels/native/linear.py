"""Linear layers by the kernels of `linear.cpp` and `linear_tiles.cpp`, in half formats, and of `linear_int8.cpp`.

Inputs and results are float32; so are sums, but for those of up to 128 products in lanes of float16. Weights in 8 bits
have a scale for each output, inputs one for each row, found when it is read. The eager twins are
`kernels.linear.PackedLinear` and `kernels.linear.Feedforward`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from trackmatte.kernels.int8 import Activation
from trackmatte.kernels.native.build import Engine, kernel

LANES, OUTPUTS, FOUR = 64, 32, 4  # as in half.h and linear_int8.cpp
SIDE, SQUARE, ALONG = 16, 32, 32  # as in tiles.h
_CODES: dict[Activation | None, int] = {None: 0, "relu": 1, "gelu": 2}


class NativeLinear(nn.Module):
    """A linear layer, and the activation that follows it."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        activation: Activation | None = None,
        *,
        engine: Engine,
        norm: nn.Module | None = None,
    ) -> None:
        """Prepares a layer.

        Args:
            weight, bias: (C', C) and (C',).
            activation: what follows.
            engine: what multiplies.
            norm: over channels, what comes before, if anything does.
        """
        super().__init__()
        self._norm = NormArguments(norm)
        self._layer = packed(weight, bias, engine)
        self._run = kernel("linear", engine)
        self._activation = _CODES[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) to (..., C'), float32."""
        x = x.float().contiguous()
        y = torch.empty(*x.shape[:-1], self._layer.outputs)
        made = self._activation, y.data_ptr(), torch.get_num_threads()
        self._run(x.data_ptr(), x.numel() // x.shape[-1], *self._norm.arguments, *self._layer.arguments, *made)
        return y


class NativeFeedforward(nn.Module):
    """Adds `second(activation(first(norm(x))))` to what is there already."""

    def __init__(
        self,
        first: nn.Linear,
        second: nn.Linear,
        activation: Activation,
        *,
        engine: Engine,
        norm: nn.Module | None = None,
    ) -> None:
        """Args: see `NativeLinear`."""
        super().__init__()
        self._norm = NormArguments(norm)
        self._first, self._second = (packed(each.weight, each.bias, engine) for each in (first, second))
        self._run = kernel("feedforward", engine)
        self._activation = _CODES[activation]

    def forward(self, x: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
        """Args: x: (..., C), may be `onto`. onto: (..., C) float32, contiguous, changed in place. Returns: `onto`."""
        x = x.float().contiguous()
        assert onto.is_contiguous()
        layers = *self._norm.arguments, *self._first.arguments, self._activation, *self._second.arguments
        self._run(x.data_ptr(), x.numel() // x.shape[-1], *layers, onto.data_ptr(), torch.get_num_threads())
        return onto


class NormArguments:
    """A norm over channels as kernels take it."""

    def __init__(self, norm: nn.Module | None) -> None:
        """Args: norm: with (C,) `weight` and `bias`, and `eps`."""
        self._parts = [] if norm is None else [torch.as_tensor(each).detach() for each in (norm.weight, norm.bias)]
        eps = 0.0 if norm is None else float(torch.as_tensor(norm.eps))
        pointers = [None, None] if norm is None else [part.data_ptr() for part in self._parts]
        self.arguments = *pointers, eps


class Packed:
    """A layer's weights and what belongs to them, as its kernel reads them."""

    def __init__(self, inputs: int, outputs: int, *parts: torch.Tensor) -> None:
        self.outputs = outputs
        self._parts = [part.contiguous() for part in parts]
        self.arguments = *(part.data_ptr() for part in self._parts), inputs, outputs


def packed(weight: torch.Tensor, bias: torch.Tensor, engine: Engine) -> Packed:
    """A layer as kernels take it. Args: weight, bias: (C', C) and (C',)."""
    return _PACKERS[engine](weight.detach().float(), bias.detach().float())


def _in_halves(weight: torch.Tensor, bias: torch.Tensor) -> Packed:
    outputs, inputs = weight.shape
    missing = -outputs % LANES
    panels = F.pad(weight, (0, 0, 0, missing)).view(-1, LANES, inputs).mT
    return Packed(inputs, outputs, panels.contiguous().to(torch.float16), F.pad(bias, (0, missing)))


def _in_tiles(dtype: torch.dtype, weight: torch.Tensor, bias: torch.Tensor) -> Packed:
    outputs, inputs = weight.shape
    rows = F.pad(weight, (0, -inputs % ALONG, 0, -outputs % SQUARE)).to(dtype)
    columns = rows.view(-1, SIDE, rows.shape[1] // ALONG, SIDE, 2).permute(0, 2, 3, 1, 4)
    return Packed(inputs, outputs, columns, F.pad(bias, (0, -outputs % SQUARE)))


def _in_bytes(weight: torch.Tensor, bias: torch.Tensor) -> Packed:
    outputs, inputs = weight.shape
    missing = -outputs % OUTPUTS
    scale = weight.abs().amax(dim=1).div_(127).clamp_(min=torch.finfo(torch.float32).tiny)
    levels = (weight / scale[:, None]).round_()
    fours = F.pad(levels, (0, -inputs % FOUR, 0, missing)).to(torch.int8)
    panels = fours.view(-1, OUTPUTS, fours.shape[1] // FOUR, FOUR).permute(0, 2, 1, 3)
    vectors = (F.pad(each, (0, missing)) for each in (scale, scale * levels.sum(dim=1), bias))
    return Packed(inputs, outputs, panels, *vectors)


_PACKERS: dict[Engine, Callable[[torch.Tensor, torch.Tensor], Packed]] = {
    "float16 lanes": _in_halves,
    "int8 lanes": _in_bytes,
    "float16 tiles": partial(_in_tiles, torch.float16),
    "bfloat16 tiles": partial(_in_tiles, torch.bfloat16),
}
