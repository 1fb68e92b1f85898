import numpy as np
import pytest
import torch

from trackmatte.kernels import resize
from trackmatte.kernels.pixels import resize_square
from trackmatte.kernels.resize import Resizer, axes_of_pillow, resized

CPU = torch.device("cpu")
SIZES = [
    *[(90, 160, 64), (37, 51, 96), (64, 64, 64), (100, 64, 64), (64, 100, 64), (1, 1, 8), (7, 300, 33)],
    *[(200, 3, 32), (192, 108, 102), (333, 777, 128), (720, 1280, 416), (1280, 720, 416)],
]


def pictures(height, width):
    random = np.random.default_rng(1)
    yield random.integers(0, 256, (height, width, 3), np.uint8)
    yield random.integers(0, 2, (height, width, 3), np.uint8) * 255  # sums overshoot on both sides


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_bytes_are_those_of_pillow(height, width, size):
    axes = axes_of_pillow(height, width, size)
    assert axes is not None
    for image in pictures(height, width):
        assert np.array_equal(resized(torch.from_numpy(image), size, axes).numpy(), resize_square(image, size))


def test_a_cpu_asks_pillow_itself():
    image = next(pictures(40, 60))[:, ::-1]
    square = Resizer(40, 60, 32, CPU)(image)
    assert square.dtype == torch.uint8
    assert np.array_equal(square.numpy(), resize_square(image, 32))


def test_where_pillow_does_otherwise_it_does_it_itself(monkeypatch):
    """As if a later Pillow had other weights."""
    monkeypatch.setattr(resize, "resize_square", lambda image, size: 255 - resize_square(image, size))
    axes_of_pillow.cache_clear()
    assert axes_of_pillow(50, 60, 32) is None
    square = Resizer(50, 60, 32, torch.device("meta"))(next(pictures(50, 60)))
    assert (square.shape, square.dtype, square.device.type) == ((32, 32, 3), torch.uint8, "meta")
    axes_of_pillow.cache_clear()


def test_on_a_device_only_the_picture_is_sent():
    resizer = Resizer(50, 60, 32, torch.device("meta"))
    square = resizer(next(pictures(50, 60))[::-1])
    assert (square.shape, square.dtype, square.device.type) == ((32, 32, 3), torch.uint8, "meta")
