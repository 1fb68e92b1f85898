"""Compiled twins of hot modules, where this machine can compile."""

from __future__ import annotations

import logging
from typing import cast

import torch
from torch import nn

logger = logging.getLogger(__name__)


def compiled(module: nn.Module, *example: torch.Tensor) -> nn.Module:
    """The module compiled and warmed up on an example, or the module itself where compiling fails.

    A failure is said in one line of log; results are then the eager module's.

    Args:
        module: called with positional tensors of constant shapes.
        example: inputs of the shapes that will be used.
    """
    try:
        twin = cast(nn.Module, torch.compile(module, dynamic=False))
        twin(*example)
    except Exception as exc:  # whatever a compiler may raise: it has no common base class
        logger.warning("not compiled, running eagerly: %s", str(exc).strip().split("\n")[0])
        return module
    return twin
