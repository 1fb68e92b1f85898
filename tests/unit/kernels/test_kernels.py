import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam2_utils import LayerNorm2d
from sam2.utils.misc import load_video_frames
from torch import nn

from tests.unit.kernels.tolerances import TOLERANCE, distance
from trackmatte.errors import ModelError
from trackmatte.kernels import convolution, precision
from trackmatte.kernels.compile import compiled
from trackmatte.kernels.convolution import (
    FusedConvolution,
    LeanConvolution,
    PackedConvolution,
    absorb_padding,
    join_pointwise,
)
from trackmatte.kernels.norm import FEW, ChannelNorm
from trackmatte.kernels.pixels import Normalizer, resize_square
from trackmatte.kernels.positions import StoredPosition
from trackmatte.kernels.precision import half, resolve_device, resolve_dtype
from trackmatte.kernels.rounding import OneByOne

CPU = torch.device("cpu")


@pytest.mark.parametrize(("height", "width", "size"), [(90, 160, 64), (37, 51, 96), (64, 64, 64), (200, 3, 32)])
def test_pixels_are_those_of_the_reference_bit_for_bit(tmp_path, height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "0.jpg", quality=95)
    expected, _, _ = load_video_frames(str(tmp_path), size, False, compute_device=CPU)
    read = np.array(Image.open(tmp_path / "0.jpg").convert("RGB"))
    pixels = Normalizer(CPU)(torch.tensor(resize_square(read, size)))
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, expected)


def test_every_byte_normalizes_as_the_reference_does():
    """The reference divides in float64 and rounds; here it is float32 throughout."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    wide = torch.from_numpy(ramp / 255.0).permute(2, 0, 1).to(torch.float32)
    mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    expected = (wide - mean[:, None, None]) / deviation[:, None, None]
    assert torch.equal(Normalizer(CPU)(torch.from_numpy(ramp))[0], expected)


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


@pytest.mark.parametrize(("kernel", "pad"), [(3, (0, 1, 0, 1)), (5, (1, 2, 1, 2)), (3, None)])
@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20), (13, 9)])
def test_lean_convolutions_give_what_the_plain_steps_give(kernel, pad, clamp, groups, height, width):
    plain, norm = convolution_and_norm(kernel, groups, padding=0 if pad else 1)
    x = torch.randn(2, 6, height, width)
    lean = LeanConvolution(absorb_padding(plain, pad) if pad else plain, norm, clamp=clamp)
    with torch.inference_mode():
        before = x.clone()
        expected = norm(plain(F.pad(x, pad) if pad else x))
        expected = F.relu6(expected) if clamp else expected
        found = lean(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.5
    assert torch.equal(x, before), "the input is another module's, too"


def convolution_and_norm(kernel, groups, *, padding=0):
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 12, kernel, 2, padding, groups=groups, bias=False)
    norm = nn.BatchNorm2d(12, eps=1e-3).eval()
    for values in (norm.running_mean, norm.weight, norm.bias):
        nn.init.normal_(values, std=2)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return plain, norm


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("kernel", "pad"), [(3, (0, 1, 0, 1)), (5, (1, 2, 1, 2)), (3, None)])
@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (13, 9)])
def test_fused_convolutions_give_what_the_plain_steps_give(
    monkeypatch, packed, kernel, pad, clamp, groups, height, width
):
    if not packed:
        monkeypatch.setattr(convolution, "_pack", lambda plain, x: None)
    plain, norm = convolution_and_norm(kernel, groups, padding=0 if pad else 1)
    fused = FusedConvolution(absorb_padding(plain, pad) if pad else plain, norm, clamp=clamp)
    with torch.inference_mode():
        for size in ((height, width), (height + 4, width + 1)):
            x = torch.randn(2, 6, *size)
            before = x.clone()
            expected = norm(plain(F.pad(x, pad) if pad else x))
            expected = F.relu6(expected) if clamp else expected
            assert distance(fused(x), expected) < TOLERANCE[torch.float32]
            assert torch.equal(x, before), "the input is another module's, too"


@pytest.mark.parametrize(("out", "kernel", "stride", "groups"), [(4, 3, 2, 1), (6, 7, 1, 6)])
def test_packed_convolutions_keep_channels_last(out, kernel, stride, groups):
    torch.manual_seed(0)
    plain = nn.Conv2d(6, out, kernel, stride, kernel // 2, groups=groups)
    x = torch.randn(1, 6, 13, 9).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = PackedConvolution(plain)(x)
        assert distance(found, plain(x)) < TOLERANCE[torch.float32]
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [FEW - 1, FEW, 33])
def test_a_channel_norm_gives_what_the_eager_one_gives(channels, layout):
    torch.manual_seed(0)
    eager = LayerNorm2d(channels)
    for values in (eager.weight, eager.bias):
        nn.init.normal_(values)
    x = (3 * torch.randn(2, channels, 5, 7) + 1).contiguous(memory_format=layout)
    with torch.inference_mode():
        before = x.clone()
        assert distance(ChannelNorm(eager)(x), eager(x)) < TOLERANCE[torch.float32]
        assert torch.equal(x, before)


def test_a_convolution_that_cannot_be_packed_runs_eagerly_and_says_so(caplog, monkeypatch):
    plain, norm = convolution_and_norm(3, 1)
    fused, x = FusedConvolution(plain, norm, clamp=True), torch.randn(1, 6, 9, 9)
    monkeypatch.delattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        assert distance(fused(x), F.relu6(norm(plain(x)))) < TOLERANCE[torch.float32]
        fused(x)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("convolutions are not packed, running eagerly: ")


@torch.inference_mode()
def test_two_pointwise_convolutions_are_one():
    torch.manual_seed(0)
    first, second = nn.Conv2d(5, 32, 1), nn.Conv2d(32, 7, 1)
    x = torch.randn(2, 5, 3, 9)
    assert distance(join_pointwise(first, second)(x), second(first(x))) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_one_by_one_gives_each_its_own_result(batch):
    """To the last bit, where a batch at once may differ by rounding."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 2048), nn.ReLU(), nn.Linear(2048, 64))
    x = torch.randn(batch, 8, 64)
    together = OneByOne(module)(x)
    assert torch.equal(together, torch.cat([module(x[i : i + 1]) for i in range(batch)]))
    assert (together - module(x)).abs().max() < 1e-5


def test_auto_takes_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


def test_a_gpu_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ModelError, match="'cuda:2' is not there; this machine has 2"):
        resolve_device("cuda:2")
    for name in ("cpu:0", "cuda:", "cuda:-1", "cuda:one"):
        with pytest.raises(ModelError, match="unknown device"):
            resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
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


@pytest.mark.parametrize(("seconds", "has_it", "pays"), [(1.0, True, True), (1.6, True, False), (1.0, False, False)])
def test_auto_on_a_cpu_is_bfloat16_where_it_is_clearly_faster(monkeypatch, seconds, has_it, pays):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_it)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(precision, "_product_seconds", lambda dtype: 2.0 if dtype == torch.float32 else seconds)
    monkeypatch.setattr(precision, "bfloat16_pays", precision.bfloat16_pays.__wrapped__)
    assert resolve_dtype("auto", CPU) == (torch.bfloat16 if pays else torch.float32)
    assert resolve_dtype("auto", CPU, small=True) == torch.float32


def test_products_are_timed():
    assert 0 < precision._product_seconds(torch.float32) < 1


def test_unknown_precision():
    with pytest.raises(ModelError, match="unknown precision 'int8'"):
        resolve_dtype("int8", CPU)


def test_half_computes_in_the_format_asked_for():
    layer = nn.Linear(4, 4)
    for dtype in (torch.float32, torch.bfloat16):
        with half(CPU, dtype):
            assert layer(torch.ones(1, 4)).dtype == dtype


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
