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
    """Folds each batch norm that directly follows a convolution inside an `nn.Sequential` into it, in place.

    Args:
        module: any module in eval mode; its Sequentials keep their length, a folded norm becomes an Identity.

    Returns:
        How many norms were folded.
    """
    folded = 0
    for child in module.modules():
        if not isinstance(child, nn.Sequential):
            continue
        for i in range(len(child) - 1):
            convolution, norm = child[i], child[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                child[i], child[i + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
                folded += 1
    return folded
