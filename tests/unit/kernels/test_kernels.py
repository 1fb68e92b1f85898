import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.utils.misc import load_video_frames
from torch import nn

from trackmatte.errors import ModelError
from trackmatte.kernels import precision
from trackmatte.kernels.compile import compiled
from trackmatte.kernels.folding import fold_convolution, fold_pointwise, is_pointwise
from trackmatte.kernels.pixels import Normalizer, resize_square
from trackmatte.kernels.positions import StoredPosition
from trackmatte.kernels.precision import inference, resolve_device, resolve_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("height", "width", "size"), [(90, 160, 64), (37, 51, 96), (64, 64, 64), (200, 3, 32)])
def test_pixels_are_those_of_the_reference_bit_for_bit(tmp_path, height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "0.jpg", quality=95)
    expected, _, _ = load_video_frames(str(tmp_path), size, False, compute_device=CPU)
    read = np.array(Image.open(tmp_path / "0.jpg").convert("RGB"))
    pixels = Normalizer(CPU)(resize_square(read, size))
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, expected)


def test_every_byte_normalizes_as_the_reference_does():
    """The reference divides in float64 and rounds; here it is float32 throughout."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    wide = torch.from_numpy(ramp / 255.0).permute(2, 0, 1).to(torch.float32)
    mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    expected = (wide - mean[:, None, None]) / deviation[:, None, None]
    assert torch.equal(Normalizer(CPU)(ramp)[0], expected)


def test_a_view_of_a_picture_can_be_resized():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    assert np.array_equal(resize_square(image[:, ::-1], 32), resize_square(image[:, ::-1].copy(), 32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 7)])
def test_stored_positions_are_the_eager_ones(dtype, height, width):
    eager = PositionEmbeddingSine(32)
    stored = StoredPosition(PositionEmbeddingSine(32))
    x = torch.zeros(2, 3, height, width, dtype=dtype)
    assert torch.equal(stored(x), eager(x[:1]).to(dtype))
    assert stored(x) is stored(x)
    assert not list(stored.state_dict())


@pytest.mark.parametrize("biases", [(True, True), (False, True), (True, False)])
def test_two_pointwise_convolutions_fold_into_one(biases):
    torch.manual_seed(0)
    first, second = nn.Conv2d(5, 32, 1, bias=biases[0]), nn.Conv2d(32, 3, 1, bias=biases[1])
    x = torch.randn(2, 5, 7, 9)
    folded = fold_pointwise(first, second)
    assert (folded(x) - second(first(x))).abs().max() < 1e-5
    assert folded.weight.shape == (3, 5, 1, 1)


def test_only_pointwise_convolutions_count_as_such():
    assert is_pointwise(nn.Conv2d(4, 4, 1))
    for other in (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, groups=2), nn.Identity()):
        assert not is_pointwise(other)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 2, (0, 1, 0, 1)), (5, 2, (1, 2, 1, 2)), (3, 1, None)])
@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20), (13, 9)])
def test_padding_norm_and_activation_fold_into_a_convolution(kernel, stride, pad, clamp, groups, height, width):
    torch.manual_seed(0)
    own_padding = 0 if pad else kernel // 2
    convolution = nn.Conv2d(6, 12, kernel, stride, own_padding, groups=groups, bias=False).eval()
    norm = nn.BatchNorm2d(12, eps=1e-3).eval()
    for values in (norm.running_mean, norm.weight, norm.bias):
        nn.init.normal_(values, std=2)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(2, 6, height, width)
    expected = norm(convolution(F.pad(x, pad) if pad else x))
    expected = F.relu6(expected) if clamp else expected
    folded = fold_convolution(convolution, norm, pad=pad, clamp=clamp)
    assert folded(x).shape == expected.shape
    assert (folded(x) - expected).abs().max() < 1e-5
    assert expected.std() > 0.5


def test_auto_takes_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_a_model_error(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match=f"'{name}' is not there"):
        resolve_device(name)
    with pytest.raises(ModelError, match="unknown device 'tpu'"):
        resolve_device("tpu")


@pytest.mark.parametrize(
    ("name", "device", "has_bf16", "dtype"),
    [
        ("auto", "cpu", True, torch.float32),
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, torch.float16),
        ("auto", "mps", True, torch.float16),
        ("bf16", "cpu", True, torch.bfloat16),
        ("fp16", "cuda", True, torch.float16),
        ("fp32", "cuda", True, torch.float32),
    ],
)
def test_precision_by_name(monkeypatch, name, device, has_bf16, dtype):
    monkeypatch.setattr(precision.torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert resolve_dtype(name, torch.device(device)) == dtype


def test_unknown_precision():
    with pytest.raises(ModelError, match="unknown precision 'int8'"):
        resolve_dtype("int8", CPU)


def test_inference_computes_in_the_format_asked_for():
    layer = nn.Linear(4, 4)
    for dtype in (torch.float32, torch.bfloat16):
        with inference(CPU, dtype):
            out = layer(torch.ones(1, 4))
        assert out.dtype == dtype
        assert out.is_inference()


def test_what_does_not_compile_runs_eagerly_and_says_so(caplog, monkeypatch):
    def fail(module, **options):
        raise RuntimeError("no compiler here\nsecond line")

    monkeypatch.setattr(torch, "compile", fail)
    module = nn.Linear(2, 2)
    with caplog.at_level(logging.WARNING):
        assert compiled(module, torch.zeros(1, 2)) is module
    assert caplog.messages == ["not compiled, running eagerly: no compiler here"]


@pytest.mark.slow
def test_a_compiled_twin_gives_what_the_eager_module_gives():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    x = torch.randn(1, 3, 9, 11)
    twin = compiled(module, x)
    assert twin is not module
    assert (twin(x) - module(x)).abs().max() < 1e-5
