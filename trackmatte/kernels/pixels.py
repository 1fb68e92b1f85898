"""From a picture's bytes to the network's input.

The arithmetic is that of `sam2.utils.misc.load_video_frames` (SAM 2, Meta, Apache-2.0), so that equal pictures give
equal tensors, bit for bit: Pillow's bicubic resize of 8-bit RGB to a square, then ImageNet's mean and deviation.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from trackmatte.types import UInt8Array

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def resize_square(image: UInt8Array, size: int) -> UInt8Array:
    """Resizes a picture to the network's square, not keeping its aspect.

    Args:
        image: (H, W, 3) RGB in 0..255.
        size: side of the square, pixels.

    Returns:
        (size, size, 3) RGB in 0..255.
    """
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size, size)))


class Normalizer:
    """Turns squares of bytes into the network's input."""

    def __init__(self, device: torch.device) -> None:
        self._mean = torch.tensor(MEAN, device=device)[:, None, None]
        self._deviation = torch.tensor(DEVIATION, device=device)[:, None, None]

    def __call__(self, square: torch.Tensor) -> torch.Tensor:
        """Normalizes to ImageNet's mean 0 and deviation 1.

        Args:
            square: (S, S, 3) uint8 RGB on the device.

        Returns:
            (1, 3, S, S) float32, channels first.
        """
        pixels = square.permute(2, 0, 1).contiguous().to(torch.float32)
        return pixels.div_(255.0).sub_(self._mean).div_(self._deviation)[None]
