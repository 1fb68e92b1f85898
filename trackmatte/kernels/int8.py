"""Products of 8-bit integers, on CPUs that have instructions for them, several times faster than those of float32.

Weights have a scale for each output channel, found once. What they are multiplied by has one scale and one zero for all
tokens of a call, found at that call. Sums are exact and results are float32; what is lost is the rounding to 8 bits: a
hundredth or so of a result, more where few numbers are much larger than all others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

logger = logging.getLogger(__name__)
Activation = Literal["relu", "gelu"]
ROWS = 1024  # tokens that a weight's layout is chosen for
_LEVELS = 253  # of 256: rounding of the zero and of the values may each add a half at either end
_LEAST: dict[Activation, float] = {"relu": 0.0, "gelu": -0.17}
_UNIT = 2.0**23  # float32 is whole numbers from here on: a sum's lowest byte is the rounded addend


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """Numbers in 8 bits: (values - zero) * scale, values uint8."""

    values: torch.Tensor
    scale: float
    zero: int


def quantized(x: torch.Tensor, *, least: float | None = None, room: torch.Tensor | None = None) -> Quantized:
    """Numbers between their least and their greatest, or 0, in 8 bits.

    Args:
        x: (N, C) float32.
        least: none is less, where that is known: 0 or less.
        room: of the same shape, overwritten; may be x itself.
    """
    least = min(float(x.amin()), 0.0) if least is None else least
    scale = (max(float(x.amax()), 0.0) - least) / _LEVELS or 1.0
    zero = 1 + round(-least / scale)
    shifted = torch.add(x.new_tensor(_UNIT + zero), x, alpha=1 / scale, out=room)
    return Quantized(shifted.view(torch.int32).to(torch.int8).view(torch.uint8), scale, zero)


class QuantizedLinear(nn.Module):
    """A linear layer, and the activation that follows it; `linear.PackedLinear` is its twin in floating point."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        activation: Activation | None = None,
        *,
        after: Activation | None = None,
    ) -> None:
        """Prepares a layer.

        Args:
            weight: (C', C) float32.
            bias: (C',) float32.
            activation: what follows.
            after: the activation whose result is the input, which is then nobody else's and is overwritten.
        """
        super().__init__()
        weight = weight.detach()
        scale = weight.abs().amax(dim=1).div_(127).clamp_(min=torch.finfo(torch.float32).tiny)
        levels = (weight / scale[:, None]).round_().to(torch.int8)
        self._packed: torch.Tensor = torch.ops.onednn.qlinear_prepack(levels, [ROWS, levels.shape[1]])
        self._scale, self._zero = scale, torch.zeros(len(scale), dtype=torch.int64)
        self._bias = None if bias is None else bias.detach().clone()
        self._activation, self._after = activation or "none", after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) to (..., C'), float32."""
        tokens = x.flatten(0, -2)
        made = quantized(tokens, least=_LEAST[self._after], room=tokens) if self._after else quantized(tokens)
        return self.multiply(made).view(*x.shape[:-1], -1)

    def multiply(self, x: Quantized) -> torch.Tensor:
        """(N, C) to (N, C') float32."""
        multiply = torch.ops.onednn.qlinear_pointwise
        weight = self._packed, self._scale, self._zero, self._bias
        return torch.as_tensor(
            multiply(x.values, x.scale, x.zero, *weight, 1.0, 0, torch.float32, self._activation, [], "none")
        )


@cache
def int8_pays() -> bool:
    """Whether this CPU and this torch multiply 8-bit integers at 1.5 times the speed of float32 or more, by trying.

    Takes 10 ms. That they can't, or don't, is said in the log.
    """
    try:
        fast = torch.cpu._is_vnni_supported()
        gain = _seconds(_float_product) / _seconds(_int8_product) if fast else 0.0
    except (AttributeError, RuntimeError) as exc:
        logger.warning("no products of 8-bit integers: %s", str(exc).strip().split("\n")[0])
        return False
    if gain < 1.5:
        logger.warning("no products of 8-bit integers: they are not faster on this CPU")
    return gain >= 1.5


def _float_product() -> Callable[[], object]:
    left, right = torch.ones(512, 256), torch.ones(512, 256)
    return lambda: F.linear(left, right)


def _int8_product() -> Callable[[], object]:
    layer, x = QuantizedLinear(torch.ones(512, 256), None), quantized(torch.ones(512, 256))
    return lambda: layer.multiply(x)


def _seconds(made: Callable[[], Callable[[], object]]) -> float:
    """The least of several tries."""
    run = made()
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
