"""Two linear layers with an activation between, on a CPU in pieces that stay in the cache.

torch computes the wide layer of all tokens at once and writes it to memory that it maps anew (for SAM 2.1's first
block, 100 MB), then the activation in another pass. On a CPU the twin's weights are laid out for oneDNN once, which
applies the activation in the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from trackmatte.kernels.int8 import Activation, QuantizedLinear
from trackmatte.kernels.native.linear import NativeFeedforward, NativeLinear
from trackmatte.kernels.norm import TokenNorm
from trackmatte.kernels.precision import PLAIN, Products

logger = logging.getLogger(__name__)
PIECE = 1024  # tokens of a piece
LOSS = 0.03  # of the root mean square of a layer's result that 8 bits may change; for normally distributed numbers 0.01
_EAGER: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class PackedLinear(nn.Module):
    """A linear layer, and the activation that follows it; elsewhere than on a CPU as torch does them."""

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


class _Judged(nn.Module):
    """Something in 8-bit integers, if they are enough for its weights and what comes in; else in floating point.

    How much they lose depends on how far the largest numbers stand out. Until `settle` both are computed and compared,
    and the result is that of floating point.
    """

    def __init__(self, exact: nn.Module, quantized: nn.Module) -> None:
        super().__init__()
        self._exact, self._quantized = exact, quantized
        self._chosen: nn.Module | None = None
        self._lost, self._whole = 0.0, 0.0

    def _compare(self, quantized: torch.Tensor, exact: torch.Tensor) -> None:
        self._lost += float((quantized - exact).square().sum())
        self._whole += float(exact.square().sum())

    def settle(self) -> bool:
        """Decides from what came in so far. Returns whether for 8 bits."""
        enough = self._lost <= LOSS**2 * self._whole
        self._chosen = self._quantized if enough else self._exact
        del self._exact, self._quantized
        return enough


class JudgedLinear(_Judged):
    """A linear layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) to (..., C'), float32."""
        if self._chosen is not None:
            return torch.as_tensor(self._chosen(x))
        exact: torch.Tensor = self._exact(x)
        self._compare(self._quantized(x), exact)
        return exact


class JudgedFeedforward(_Judged):
    """Two layers, together."""

    def forward(self, x: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
        """See `Feedforward.forward`."""
        if self._chosen is not None:
            return torch.as_tensor(self._chosen(x, onto))
        exact: torch.Tensor = self._exact(x, torch.zeros_like(onto))
        self._compare(self._quantized(x, torch.zeros_like(onto)), exact)
        return onto.add_(exact)


def settle(module: nn.Module, name: str) -> None:
    """Lets the judged layers in a module decide, and says in the log what they decided."""
    judged = [part for part in module.modules() if isinstance(part, _Judged)]
    if judged:
        number = sum([part.settle() for part in judged])
        logger.info("%s: %d of %d layers in 8-bit integers", name, number, len(judged))


def lean(
    layer: nn.Linear,
    dtype: torch.dtype,
    activation: Activation | None = None,
    *,
    products: Products = PLAIN,
    after: Activation | None = None,
) -> PackedLinear | JudgedLinear | NativeLinear:
    """The twin of a layer for a CPU.

    Args:
        layer: the layer.
        dtype: the format to compute in, float32 or bfloat16.
        activation: what follows.
        products: what multiplies.
        after: what the input comes from, see `QuantizedLinear`.
    """
    if products.native:
        native = NativeLinear(layer.weight, layer.bias, activation, engine=products.native)
        if not products.int8:
            return native
        return JudgedLinear(native, NativeLinear(layer.weight, layer.bias, activation, engine="int8 lanes"))
    exact = PackedLinear(layer.weight.to(dtype), layer.bias.to(dtype), activation)
    if not products.int8:
        return exact
    return JudgedLinear(exact, QuantizedLinear(layer.weight, layer.bias, activation, after=after))


def feedforward(
    first: nn.Linear,
    second: nn.Linear,
    activation: Activation,
    dtype: torch.dtype,
    *,
    products: Products = PLAIN,
    norm: nn.Module | None = None,
) -> Feedforward | NativeFeedforward | JudgedFeedforward:
    """The twin of two layers for a CPU.

    Args:
        first, second: the layers.
        activation: between them.
        dtype, products: see `lean`.
        norm: over channels, what comes before, if anything does.
    """
    if products.native:
        native, in_bytes = (
            partial(NativeFeedforward, first, second, activation, engine=engine, norm=norm)
            for engine in (products.native, "int8 lanes")
        )
        return JudgedFeedforward(native(), in_bytes()) if products.int8 else native()
    return Feedforward(
        lean(first, dtype, activation, products=products),
        lean(second, dtype, products=products, after=activation),
        norm,
    )


class Feedforward(nn.Module):
    """Adds `second(first(norm(x)))` to what is there already; an activation is in the first."""

    def __init__(self, first: nn.Module, second: nn.Module, norm: nn.Module | None = None) -> None:
        super().__init__()
        self._first, self._second = first, second
        self._norm = nn.Identity() if norm is None else TokenNorm(norm)

    def forward(self, x: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
        """Args: x: (..., C), may be `onto`. onto: (..., C) float32, contiguous, changed in place. Returns: `onto`."""
        if onto.device.type != "cpu":
            return onto.add_(self._second(self._first(self._norm(x))))
        pieces = torch.split(x.flatten(0, -2), PIECE), torch.split(onto.view(-1, onto.shape[-1]), PIECE)
        for piece, place in zip(*pieces, strict=True):
            place += self._second(self._first(self._norm(piece)))
        return onto


def _pack(weight: torch.Tensor) -> torch.Tensor | None:
    """The weight in oneDNN's own layout; None elsewhere than on a CPU, and where this torch can't: that is logged."""
    if weight.device.type != "cpu":
        return None
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, PIECE)
        torch.ops.mkldnn._linear_pointwise(weight.new_zeros(1, weight.shape[1]), packed, None, "none", [], "none")
    except (AttributeError, RuntimeError) as exc:
        logger.warning("linear layers are not packed, running eagerly: %s", str(exc).strip().split("\n")[0])
        return None
    return torch.as_tensor(packed)
