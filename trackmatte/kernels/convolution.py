"""Padding, convolution, batch norm and ReLU6 for inference: to the same bits in fewer passes, or fused in one."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

logger = logging.getLogger(__name__)


class LeanConvolution(nn.Module):
    """Does what `F.pad`, a convolution, a batch norm and ReLU6 do one after another, to the same bits."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.Module, *, clamp: bool) -> None:
        """Args: convolution: with its padding in it. norm: applied next. clamp: whether ReLU6 follows."""
        super().__init__()
        self.convolution = convolution
        self.norm = norm
        self.clamp = clamp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        x = torch.as_tensor(self.norm(self.convolution(x)))
        return x.clamp_(0, 6) if self.clamp else x


class PackedConvolution(nn.Module):
    """Does what a convolution and ReLU6 do one after another, but for rounding.

    On a CPU the weight is laid out for oneDNN and for the maps' size, at the first of them (a layout for any size takes
    twice the time), and the result is clamped in the cache; elsewhere, and where this torch can't, a plain convolution
    and a clamp do the same.
    """

    def __init__(self, convolution: nn.Conv2d, *, clamp: bool = False) -> None:
        """Args: convolution: with its padding in it. clamp: whether ReLU6 follows."""
        super().__init__()
        self.plain = convolution
        self.clamp = clamp
        self._size: torch.Size | None = None
        self._packed: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        plain = self.plain
        x = x.to(plain.weight.dtype)
        if self._size != x.shape[2:]:
            self._size, self._packed = x.shape[2:], _pack(plain, x)
        if self._packed is None:
            x = torch.as_tensor(plain(x))
            return x.clamp_(0, 6) if self.clamp else x
        return _packed_convolution(x, self._packed, plain, self.clamp)


class FusedConvolution(PackedConvolution):
    """Does what a convolution, a batch norm and ReLU6 do one after another, the batch norm folded into the weights."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, *, clamp: bool) -> None:
        """Args: convolution: with its padding in it. norm: applied next. clamp: whether ReLU6 follows."""
        super().__init__(fold_norm(convolution, norm), clamp=clamp)


@torch.no_grad()
def fold_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution, with bias, for a convolution without and the batch norm after it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = _like(convolution, convolution.weight * scale[:, None, None, None], bias=True)
    assert folded.bias is not None
    folded.bias.copy_(norm.bias - norm.running_mean * scale)
    return folded


@torch.no_grad()
def join_pointwise(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1x1 convolution for two, both with bias and nothing between."""
    assert first.bias is not None
    assert second.bias is not None
    outer, inner = second.weight[:, :, 0, 0].double(), first.weight[:, :, 0, 0].double()
    joined = nn.Conv2d(first.in_channels, second.out_channels, 1, device=first.weight.device)
    joined.weight.copy_((outer @ inner)[:, :, None, None])
    assert joined.bias is not None
    joined.bias.copy_(outer @ first.bias.double() + second.bias.double())
    return joined


@torch.no_grad()
def absorb_padding(convolution: nn.Conv2d, pad: tuple[int, int, int, int]) -> nn.Conv2d:
    """A convolution that pads by itself where its input was padded unevenly before.

    Padding more at the right and below than at the left and above is what a kernel does that is larger by as much, with
    zeros in its first columns and rows. The zeros cost a few products and spare a copy of the map.

    Args:
        convolution: square, without padding of its own and without bias.
        pad: left, right, above and below of its input; left equals above, right equals below, left <= right.
    """
    left, right = pad[:2]
    weight = F.pad(convolution.weight, (right - left, 0, right - left, 0))
    return _like(convolution, weight, padding=right)


def _like(convolution: nn.Conv2d, weight: torch.Tensor, *, padding: int | None = None, bias: bool = False) -> nn.Conv2d:
    """A convolution as the given one, with another weight."""
    made = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (weight.shape[2], weight.shape[3]),
        (convolution.stride[0], convolution.stride[1]),
        padding if padding is not None else (int(convolution.padding[0]), int(convolution.padding[1])),
        groups=convolution.groups,
        bias=bias,
        device=weight.device,
        dtype=weight.dtype,
    )
    made.weight.copy_(weight)
    return made


def _packed_convolution(x: torch.Tensor, packed: torch.Tensor, plain: nn.Conv2d, clamp: bool) -> torch.Tensor:
    shape = plain.padding, plain.stride, plain.dilation, plain.groups
    after = ("hardtanh", [0.0, 6.0], "") if clamp else ("none", [], "")
    return torch.as_tensor(torch.ops.mkldnn._convolution_pointwise(x, packed, plain.bias, *shape, *after))


def _pack(plain: nn.Conv2d, x: torch.Tensor) -> torch.Tensor | None:
    """The weight in oneDNN's layout for x; None elsewhere than on a CPU, and where this torch can't: that is logged."""
    if x.device.type != "cpu":
        return None
    shape = plain.padding, plain.stride, plain.dilation, plain.groups
    try:
        reorder: Callable[..., torch.Tensor] = torch._C._nn.mkldnn_reorder_conv2d_weight
        packed = reorder(plain.weight.detach().to_mkldnn(), *shape, list(x.shape))
        _packed_convolution(x, packed, plain, True)
    except (AttributeError, RuntimeError) as exc:
        logger.warning("convolutions are not packed, running eagerly: %s", str(exc).strip().split("\n")[0])
        return None
    return packed
