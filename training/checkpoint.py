"""The state of a training run: saved whole, written beside the old one and renamed."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.network import LevelNorm


class Average:
    """Exponential moving average of a module's weights; early on it forgets faster."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)


def save(path: Path, **state: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def exported_weights(path: Path) -> dict[str, Tensor]:
    """The weights of an exported file, in float32, the level statistics folded in."""
    return {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}


def model_weights(path: Path) -> dict[str, Tensor]:
    """The averaged weights of the model in a checkpoint, ready for use: with the level statistics folded in."""
    state = load(path)
    norm = LevelNorm([len(state["norm"][f"mean{i}"]) for i in range(len(state["norm"]) // 2)])
    norm.load_state_dict(state["norm"])
    return norm.fold(state["average"])
