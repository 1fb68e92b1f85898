"""Linear operations that follow one another, made into one: exact but for the rounding of the weights' product."""

from __future__ import annotations

import torch
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


def fold_batch_norms(module: nn.Module) -> int:
    """Folds batch norms into the convolutions before them, in place.

    Folded are a norm that directly follows a convolution inside an `nn.Sequential`, and the `norm` of a module that
    applies it to its `conv`.

    Args:
        module: in eval mode.

    Returns:
        How many norms were folded; an Identity is in the place of each.
    """
    folded = 0
    for parent in list(module.modules()):
        for first, second in _neighbours(parent):
            convolution, norm = getattr(parent, first, None), getattr(parent, second, None)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, second, nn.Identity())
                folded += 1
    return folded


def _neighbours(parent: nn.Module) -> list[tuple[str, str]]:
    if isinstance(parent, nn.Sequential):
        return [(str(i), str(i + 1)) for i in range(len(parent) - 1)]
    return [("conv", "norm")]
