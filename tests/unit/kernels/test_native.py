"""The float16 kernels beside their eager twins, on odd shapes too, and how they are built."""

import logging
import os

import pytest
import torch
import torch.nn.functional as F
from sam2.modeling.position_encoding import compute_axial_cis
from torch import nn

from tests.unit.kernels.tolerances import SUMMED_IN_FLOAT16 as TOLERATED
from tests.unit.kernels.tolerances import distance
from trackmatte.kernels.linear import Feedforward, PackedLinear, feedforward
from trackmatte.kernels.native import build
from trackmatte.kernels.native.attention import Recall, attend
from trackmatte.kernels.native.linear import NativeFeedforward, NativeLinear
from trackmatte.kernels.precision import Products, resolve_dtype
from trackmatte.kernels.rope import rotation

needs_native = pytest.mark.skipif(build.library() is None, reason="this machine can't build or run float16 kernels")


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize(("shape", "outputs"), [((1, 8), 8), ((3, 5, 7, 100), 70), ((1000, 384), 129), ((65, 300), 64)])
def test_linear_layers_give_what_the_packed_ones_give(activation, shape, outputs):
    torch.manual_seed(0)
    layer, x = nn.Linear(shape[-1], outputs), torch.randn(shape)
    before = x.clone()
    found = NativeLinear(layer.weight, layer.bias, activation)(x)
    assert found.dtype == torch.float32
    assert distance(found, PackedLinear(layer.weight, layer.bias, activation)(x)) < TOLERATED
    assert torch.equal(x, before)


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 7, 40), (2, 1100, 96)])
def test_feedforward_gives_what_the_packed_layers_give(activation, shape):
    torch.manual_seed(0)
    width = shape[-1]
    first, second = nn.Linear(width, 3 * width + 5), nn.Linear(3 * width + 5, width)
    x, onto = torch.randn(shape), torch.randn(shape)
    expected = feedforward(first, second, activation, torch.float32)(x, onto.clone())
    made = feedforward(first, second, activation, torch.float32, products=Products(native=True))
    assert isinstance(made, NativeFeedforward)
    assert not isinstance(made, Feedforward)
    found = made(x, onto)
    assert found is onto
    assert distance(found, expected) < TOLERATED


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize(("shape", "outputs"), [((1, 8), 8), ((3, 5, 7, 99), 70), ((1000, 384), 33), ((65, 302), 64)])
def test_linear_layers_in_8_bits_are_near(activation, shape, outputs):
    """Rows of other sizes, too: each has a scale of its own."""
    torch.manual_seed(0)
    layer = nn.Linear(shape[-1], outputs)
    x = torch.randn(shape) * 10.0 ** torch.linspace(-3, 3, shape[-2])[:, None]
    native = NativeLinear(layer.weight, layer.bias, activation, int8=True)
    found, expected = native(x), PackedLinear(layer.weight, layer.bias, activation)(x)
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert 0 < error.max() < 0.05
    assert error.median() < 0.015


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 7, 42), (2, 1100, 96)])
def test_feedforward_in_8_bits_is_near_once_it_has_settled(shape):
    torch.manual_seed(0)
    first, second = nn.Linear(shape[-1], 3 * shape[-1] + 5), nn.Linear(3 * shape[-1] + 5, shape[-1])
    x = torch.randn(shape)
    expected = feedforward(first, second, "gelu", torch.float32)(x, torch.ones(shape))
    judged = feedforward(first, second, "gelu", torch.float32, products=Products(native=True, int8=True))
    exactly = judged(x, torch.ones(shape))
    assert distance(exactly, expected) < TOLERATED
    assert judged.settle()
    settled = judged(x, torch.ones(shape))
    assert 0 < distance(settled, expected) < 0.02
    assert not torch.equal(settled, exactly)


@needs_native
@torch.inference_mode()
def test_a_layer_that_8_bits_spoil_stays_in_float16():
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    x = torch.randn(50, 64)
    x[:, 0] = 1e4
    nn.init.zeros_(first.weight[:, 0])
    judged = feedforward(first, second, "gelu", torch.float32, products=Products(native=True, int8=True))
    exactly = judged(x, torch.zeros(50, 64))
    assert not judged.settle()
    assert torch.equal(judged(x, torch.zeros(50, 64)), exactly)


@needs_native
@torch.inference_mode()
def test_rows_of_zeros_and_of_one_number_are_no_trouble_in_8_bits():
    layer = nn.Linear(20, 20)
    x = torch.stack([torch.zeros(20), torch.full((20,), 3.0), torch.full((20,), -3.0)])
    assert distance(NativeLinear(layer.weight, layer.bias, int8=True)(x), layer(x)) < 0.01


@needs_native
@torch.inference_mode()
def test_gelu_is_right_to_float16_everywhere():
    x = torch.linspace(-12, 12, 4001)[:, None]
    gelu = NativeLinear(torch.ones(1, 1), torch.zeros(1), "gelu")(x)
    assert (gelu - F.gelu(x.half().float())).abs().max() < 5e-5


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize(
    ("batch", "queries", "keys", "heads", "width", "values"),
    [
        (1, 64, 128, 1, 32, 32),
        (1, 200, 333, 3, 96, 96),
        (9, 16, 16, 2, 40, 20),
        (2, 1, 1, 1, 5, 1),
        (1, 70, 129, 1, 256, 65),
    ],
)
def test_attention_gives_what_torchs_attention_gives(batch, queries, keys, heads, width, values):
    torch.manual_seed(0)
    q, k, v = (torch.randn(batch, n, heads, c) for n, c in ((queries, width), (keys, width), (keys, values)))
    expected = F.scaled_dot_product_attention(*(each.transpose(1, 2) for each in (q, k, v))).transpose(1, 2)
    assert distance(attend(q, k, v, width**-0.5), expected) < TOLERATED


@needs_native
@torch.inference_mode()
def test_attention_reads_tensors_that_lie_side_by_side():
    torch.manual_seed(0)
    both = torch.randn(2, 70, 3, 2, 24)
    apart = [each.contiguous() for each in both.unbind(2)]
    assert torch.equal(attend(*both.unbind(2), 0.2), attend(*apart, 0.2))


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize("late", [True, False])
def test_large_scores_neither_overflow_nor_vanish(late):
    """The greatest are in the first block of keys, or in the last; they are whole numbers, which float16 keeps."""
    torch.manual_seed(0)
    q, v = torch.ones(1, 10, 1, 16), torch.randn(1, 400, 1, 8)
    k = torch.full((1, 400, 1, 16), -3.0)
    k[0, -3 if late else 3] = 4
    found = attend(q, k, v, 1.0)
    assert distance(found, v[:, -3 if late else 3][:, None].expand(1, 10, 1, 8)) < TOLERATED
    low = attend(q * torch.linspace(20, 21, 10)[:, None, None], k * 21, v, 1.0)  # differences beyond 65,504
    assert distance(low, found) == 0
    even = attend(q, torch.full_like(k, 30.0), v, 1.0)
    assert distance(even, v.mean(dim=1, keepdim=True).expand(1, 10, 1, 8)) < 3 * TOLERATED


@needs_native
@torch.inference_mode()
def test_many_small_weights_count():
    """Each of 4,000 keys weighs a hundred-thousandth of the greatest, all of them 4 %."""
    q, k = torch.ones(1, 1, 1, 1), torch.full((1, 4001, 1, 1), -11.5)
    k[0, 0] = 0
    v = torch.zeros(1, 4001, 1, 1)
    v[0, 1:] = 1
    share = 4000 * torch.tensor(-11.5).exp()
    assert abs(attend(q, k, v, 1.0).item() / (share / (1 + share)).item() - 1) < 0.01


def plainly(queries, weight, bias, turned, tokens, values, more_keys, more_values, count):
    """Keys made and turned one by one."""
    keys = torch.cat([turned(F.linear(tokens, weight, bias)).flatten(0, 1), more_keys])
    often = torch.cat([torch.full((tokens.shape[0] * tokens.shape[1],), count).log(), torch.zeros(len(more_keys))])
    return (queries @ keys.T + often).softmax(dim=1) @ torch.cat([values.flatten(0, 1), more_values])


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize(
    ("side", "pool", "width", "narrow", "maps", "more"),
    [
        (8, 1, 32, 8, 1, 3),
        (10, 2, 256, 64, 7, 64),
        (13, 1, 128, 16, 3, 5),
        (12, 2, 64, 16, 17, 130),
        (6, 1, 64, 8, 8, 0),
    ],
)
def test_recall_gives_what_keys_made_one_by_one_give(side, pool, width, narrow, maps, more):
    torch.manual_seed(0)
    turns = compute_axial_cis(width, side, side)
    turned = rotation(turns, side, pool=pool)
    places = (side // pool) ** 2
    queries = rotation(turns, side)(torch.randn(1, side * side, width))[0] * 3 / width**0.5
    weight, bias = torch.randn(width, narrow) / narrow**0.5, torch.randn(width)
    tokens, values = torch.randn(maps, places, narrow), torch.randn(maps, places, narrow)
    more_keys, more_values = torch.randn(more, width), torch.randn(more, narrow)
    given = tokens, values, more_keys, more_values
    found = Recall(weight, bias, turned, float(pool**2))(queries, *given)
    expected = plainly(queries, weight, bias, turned, *given, float(pool**2))
    assert distance(found, expected) < 3 * TOLERATED
    assert distance(Recall(weight, 0 * bias, turned, float(pool**2))(queries, *given), expected) > 0.05


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As on a machine where nothing was built yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.library.cache_clear()
    yield tmp_path
    build.library.cache_clear()


def said(caplog):
    assert build.library() is None
    assert build.library() is None
    assert not build.native_pays()
    (line,) = caplog.messages
    return line


def test_a_cpu_without_float16_is_said_once(monkeypatch, caplog, fresh):
    monkeypatch.setattr(build, "_multiplies_half", lambda: False)
    assert said(caplog).endswith("they need Linux on a CPU with AVX512-FP16")
    assert not (fresh / "cache").exists()


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch, caplog, fresh):
    monkeypatch.setattr(build, "_multiplies_half", lambda: True)
    monkeypatch.setenv("PATH", str(fresh))
    monkeypatch.delenv("CXX", raising=False)
    assert said(caplog) == "no float16 kernels: no C++ compiler; install g++ 12 or later"


def test_a_compiler_that_fails_is_named_and_leaves_nothing(monkeypatch, caplog, fresh):
    monkeypatch.setattr(build, "_multiplies_half", lambda: True)
    for name in ("g++", "c++"):
        script = fresh / name
        script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 9 && exit\necho too old >&2\nexit 1\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(fresh), prepend=os.pathsep)
    assert f"{fresh / 'g++'}: can't compile: too old; g++ 12 or later is needed" in said(caplog)
    assert not list((fresh / "cache/trackmatte").iterdir())


@needs_native
def test_the_library_is_built_once(monkeypatch, caplog, fresh):
    with caplog.at_level(logging.INFO):
        assert build.library() is not None
        build.library.cache_clear()
        assert build.library() is not None
    assert [message.startswith("compiling float16 kernels") for message in caplog.messages] == [True]
    assert len(list((fresh / "cache/trackmatte").iterdir())) == 1


@needs_native
def test_auto_is_float16_where_it_is_compiled_and_bfloat16_is_no_faster(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_dtype("auto", cpu, compile=True) == torch.float16
    assert resolve_dtype("auto", cpu, compile=True, small=True) == torch.float16
    assert resolve_dtype("auto", cpu) != torch.float16
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert resolve_dtype("auto", cpu, compile=True) != torch.float16
