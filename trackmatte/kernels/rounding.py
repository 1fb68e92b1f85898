"""Batches that round as single objects do.

A matrix product may be summed in another order for eight rows than for thirty-two. The differences are of the size of
rounding, but memory keeps maps in bfloat16: where one tips a value to its neighbour, it grows ten thousandfold. So in
float32 on a CPU, products run object by object inside the batch; attention, norms and convolutions, which round alike
whatever the batch, run at once.
"""

from __future__ import annotations

import torch
from torch import nn


class OneByOne(nn.Module):
    """Runs a small module object by object, so that a batch's results are, bit for bit, those of each object alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ...) to (B, ...), B times a batch of one."""
        if len(x) == 1:
            return torch.as_tensor(self.module(x))
        return torch.cat([self.module(x[i : i + 1]) for i in range(len(x))])


class Planar(nn.Module):
    """Runs a module on a map in torch's plain layout, which a batch of one has where a larger one is channels last."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        return torch.as_tensor(self.module(x.contiguous()))


class LinearOneByOne(nn.Module):
    """`nn.Linear` as a product for each object, all written to one result."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, L, C) float32 to (B, L, C')."""
        linear = self.linear
        if len(x) == 1:
            return torch.as_tensor(linear(x))
        out = x.new_empty(*x.shape[:2], linear.out_features)
        for one, product in zip(x, out, strict=True):
            torch.addmm(linear.bias, one, linear.weight.t(), out=product)
        return out


def replace_linears(module: nn.Module) -> None:
    """Puts a `LinearOneByOne` in the place of each `nn.Linear` with a bias inside the module."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear) and child.bias is not None:
            setattr(module, name, LinearOneByOne(child))
        else:
            replace_linears(child)
