"""Linear operations that follow one another, made into one: exact but for the rounding of the weights' product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_pointwise(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1x1 convolution that does what `first` and then `second`, both 1x1, do.

    SAM 2 widens the finest two feature maps to the model's width and narrows them again for the mask decoder; the
    product of the two needs a fraction of the work and of the memory.

    Returns:
        A convolution from first's input channels to second's output channels, on first's device.
    """
    inner, outer = first.weight.double().flatten(1), second.weight.double().flatten(1)
    folded = nn.Conv2d(first.in_channels, second.out_channels, 1, device=first.weight.device, dtype=first.weight.dtype)
    folded.weight.copy_((outer @ inner)[:, :, None, None])
    bias = torch.zeros(second.out_channels, dtype=torch.float64, device=outer.device)
    if first.bias is not None:
        bias = bias + outer @ first.bias.double()
    if second.bias is not None:
        bias = bias + second.bias.double()
    if folded.bias is not None:
        folded.bias.copy_(bias)
    return folded.eval()


def is_pointwise(module: nn.Module) -> bool:
    """Whether the module is a plain 1x1 convolution that `fold_pointwise` takes."""
    return isinstance(module, nn.Conv2d) and (module.kernel_size, module.stride, module.groups) == ((1, 1), (1, 1), 1)


class FoldedConvolution(nn.Module):
    """Padding, convolution, batch norm and ReLU6 in one convolution and a clamp in place."""

    def __init__(self, convolution: nn.Conv2d, *, clamp: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.clamp = clamp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        x = self.convolution(x)
        return x.clamp_(0, 6) if self.clamp else x


@torch.no_grad()
def fold_convolution(
    convolution: nn.Conv2d, norm: nn.BatchNorm2d, *, pad: tuple[int, int, int, int] | None, clamp: bool
) -> FoldedConvolution:
    """What pads as `F.pad` does, convolves, normalizes and applies ReLU6, as one module for inference.

    Padding one more at the right and below than at the left and above is what a kernel does that is as much larger,
    with zeros in its first columns and rows: it costs a few products and spares a copy of the map.

    Args:
        convolution: with no padding of its own where `pad` is given; in eval mode.
        norm: applied to its output; in eval mode.
        pad: left, right, above and below of the input; left equals above, right equals below, left <= right. Or None.
        clamp: whether ReLU6 follows.
    """
    folded = fuse_conv_bn_eval(convolution, norm)
    if pad is not None:
        left, right = pad[:2]
        folded = _enlarged(folded, right - left, right)
    return FoldedConvolution(folded, clamp=clamp)


def _enlarged(convolution: nn.Conv2d, zeros: int, padding: int) -> nn.Conv2d:
    """The same convolution with `zeros` columns and rows of zeros before its kernel's first."""
    weight = F.pad(convolution.weight, (zeros, 0, zeros, 0))
    larger = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (weight.shape[2], weight.shape[3]),
        (convolution.stride[0], convolution.stride[1]),
        padding,
        groups=convolution.groups,
        device=weight.device,
        dtype=weight.dtype,
    ).eval()
    larger.load_state_dict({"weight": weight, "bias": convolution.bias})
    return larger
