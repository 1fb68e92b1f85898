"""Linear layers by the kernels of `linear.cpp`, in float16, and of `linear_int8.cpp`, in 8-bit integers.

Inputs and results are float32; so are sums of more than 128 products in float16. Weights in 8 bits have a scale for
each output, inputs one for each row, found when it is read. The eager twins are `kernels.linear.PackedLinear` and
`kernels.linear.Feedforward`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from trackmatte.kernels.int8 import Activation
from trackmatte.kernels.native.build import kernel

LANES, OUTPUTS, FOUR = 64, 32, 4  # as in half.h and linear_int8.cpp
_CODES: dict[Activation | None, int] = {None: 0, "relu": 1, "gelu": 2}


class NativeLinear(nn.Module):
    """A linear layer, and the activation that follows it."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, activation: Activation | None = None, *, int8: bool = False
    ) -> None:
        """Args: weight: (C', C). bias: (C',). activation: what follows. int8: in 8-bit integers, else in float16."""
        super().__init__()
        self._layer = _packed(weight, bias, int8)
        self._run = kernel("linear_int8" if int8 else "linear")
        self._activation = _CODES[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) to (..., C'), float32."""
        x = x.float().contiguous()
        y = torch.empty(*x.shape[:-1], self._layer.outputs)
        made = self._activation, y.data_ptr(), torch.get_num_threads()
        self._run(x.data_ptr(), x.numel() // x.shape[-1], *self._layer.arguments, *made)
        return y


class NativeFeedforward(nn.Module):
    """Adds `second(activation(first(x)))` to what is there already."""

    def __init__(self, first: nn.Linear, second: nn.Linear, activation: Activation, *, int8: bool = False) -> None:
        """Args: int8: in 8-bit integers, else in float16."""
        super().__init__()
        self._first, self._second = (_packed(each.weight, each.bias, int8) for each in (first, second))
        self._run = kernel("feedforward_int8" if int8 else "feedforward")
        self._activation = _CODES[activation]

    def forward(self, x: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
        """Args: x: (..., C). onto: (..., C) float32, contiguous, changed in place. Returns: `onto`."""
        x = x.float().contiguous()
        assert onto.is_contiguous()
        layers = *self._first.arguments, self._activation, *self._second.arguments
        self._run(x.data_ptr(), x.numel() // x.shape[-1], *layers, onto.data_ptr(), torch.get_num_threads())
        return onto


class _Packed:
    """A layer's weights and what belongs to them, as its kernel reads them."""

    def __init__(self, inputs: int, outputs: int, *parts: torch.Tensor) -> None:
        self.outputs = outputs
        self._parts = [part.contiguous() for part in parts]
        self.arguments = *(part.data_ptr() for part in self._parts), inputs, outputs


def _packed(weight: torch.Tensor, bias: torch.Tensor, int8: bool) -> _Packed:
    return (_in_bytes if int8 else _in_halves)(weight.detach().float(), bias.detach().float())


def _in_halves(weight: torch.Tensor, bias: torch.Tensor) -> _Packed:
    outputs, inputs = weight.shape
    missing = -outputs % LANES
    panels = F.pad(weight, (0, 0, 0, missing)).view(-1, LANES, inputs).mT
    return _Packed(inputs, outputs, panels.contiguous().to(torch.float16), F.pad(bias, (0, missing)))


def _in_bytes(weight: torch.Tensor, bias: torch.Tensor) -> _Packed:
    outputs, inputs = weight.shape
    missing = -outputs % OUTPUTS
    scale = weight.abs().amax(dim=1).div_(127).clamp_(min=torch.finfo(torch.float32).tiny)
    levels = (weight / scale[:, None]).round_()
    fours = F.pad(levels, (0, -inputs % FOUR, 0, missing)).to(torch.int8)
    panels = fours.view(-1, OUTPUTS, fours.shape[1] // FOUR, FOUR).permute(0, 2, 1, 3)
    vectors = (F.pad(each, (0, missing)) for each in (scale, scale * levels.sum(dim=1), bias))
    return _Packed(inputs, outputs, panels, *vectors)
