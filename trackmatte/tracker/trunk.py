"""EfficientNet-Lite0: the image trunk of the embedded model `nano`.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019, arXiv:1905.11946),
in the Lite variant of google/automl (`efficientnet/lite`, Apache-2.0): no squeeze-and-excitation, ReLU6 for swish,
stem and head not scaled. The classifier's head is left out.

Shapes, for images (B, 3, H, W) with H and W multiples of 32:

    out[0]  (B,  24, H/4,  W/4)      out[2]  (B, 112, H/16, W/16)
    out[1]  (B,  40, H/8,  W/8)      out[3]  (B, 320, H/32, W/32)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Stage:
    """`repeats` blocks of one width; the first has the stride. `feature`: whether the trunk returns its output."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    feature: bool = False


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24, feature=True),
    Stage(2, 5, 2, 6, 40, feature=True),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112, feature=True),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320, feature=True),
)
STEM_CHANNELS = 32
BATCH_NORM_EPS = 1e-3


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's "SAME" padding, batch norm, and ReLU6 unless `linear`.

    At stride 2 "SAME" pads more at the right and below; the pretrained weights rely on it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False):
        super().__init__()
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.pad = (before, after, before, after) if before != after else None
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, 0 if self.pad else before, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, self.pad) if self.pad else x
        x = self.norm(self.conv(x))
        return x if self.linear else F.relu6(x)


class MBConv(nn.Module):
    """Inverted residual: widen (1x1), filter each channel (k x k), narrow (1x1), add the input where shapes allow."""

    def __init__(self, inputs: int, stage: Stage, stride: int):
        super().__init__()
        wide = inputs * stage.expansion
        self.expand = ConvNorm(inputs, wide, 1) if stage.expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, stage.kernel, stride, groups=wide)
        self.project = ConvNorm(wide, stage.channels, 1, linear=True)
        self.residual = stride == 1 and inputs == stage.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """Multi-scale image features, high to low resolution; see the module's docstring for the shapes.

    `channel_list` runs from low to high resolution, as `sam2`'s `ImageEncoder` expects of a trunk.
    """

    def __init__(self, stages: tuple[Stage, ...] = LITE0):
        super().__init__()
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        self.features = tuple(stage.feature for stage in stages)
        self.channel_list = [stage.channels for stage in reversed(stages) if stage.feature]
        channels = STEM_CHANNELS
        for stage in stages:
            blocks = [MBConv(channels, stage, stage.stride)]
            blocks += [MBConv(stage.channels, stage, 1) for _ in range(stage.repeats - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels = stage.channels

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x)
        out = []
        for stage, feature in zip(self.stages, self.features, strict=True):
            x = stage(x)
            if feature:
                out.append(x)
        return out
