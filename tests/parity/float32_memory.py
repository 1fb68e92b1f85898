"""Memory in float32, on both sides: the reference's and ours round what they remember to bfloat16."""

import sam2.sam2_video_predictor
import torch

from trackmatte.tracker import memory, network

ROUNDING = (sam2.sam2_video_predictor, memory, network)


class _Float32:
    """The module torch, in which bfloat16 is float32."""

    bfloat16 = torch.float32

    def __getattr__(self, name):
        return getattr(torch, name)


def keep_float32(monkeypatch):
    """What is remembered from here on isn't rounded."""
    for module in ROUNDING:
        monkeypatch.setattr(module, "torch", _Float32())
