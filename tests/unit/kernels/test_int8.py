import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.kernels.tolerances import TOLERANCE, distance
from trackmatte.kernels import int8
from trackmatte.kernels.attention import attend, blocks_of, weighted
from trackmatte.kernels.int8 import QuantizedLinear, int8_pays, quantized
from trackmatte.kernels.linear import PackedLinear, feedforward, lean, settle
from trackmatte.kernels.precision import Products

needs_int8 = pytest.mark.skipif(not int8_pays(), reason="this CPU has no fast products of 8-bit integers")
ROUNDING = 0.03  # what 8 bits may change, as a share of the largest magnitude


def back(x):
    return (x.values.float() - x.zero) * x.scale


@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (1e-6, 0), (1e6, 3e5), (1, 9), (1, -9), (0, 0), (0, 2), (0, -2)])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (100, 33)])
def test_numbers_are_half_a_level_away_at_most(factor, shift, shape):
    for seed in range(20):
        torch.manual_seed(seed)
        x = torch.randn(shape) * factor + shift
        found = quantized(x)
        assert found.values.dtype == torch.uint8
        assert (back(found) - x).abs().max() <= 0.501 * found.scale
        assert found.scale <= 1.01 * (x.amax().clamp(min=0) - x.amin().clamp(max=0)).item() / 253 or not x.any()
        known = quantized(x, least=min(x.amin().item(), 0.0))
        assert torch.equal(known.values, found.values)
        assert torch.equal(quantized(x, room=x).values, found.values)


@needs_int8
@torch.inference_mode()
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 7, 33), (2, 1300, 96)])
def test_quantized_layers_sum_exactly_what_they_rounded(activation, shape):
    torch.manual_seed(0)
    layer, x = nn.Linear(shape[-1], 21), 3 * torch.randn(shape) + 1
    nn.init.zeros_(layer.weight[4])
    follow = {None: lambda y: y, "relu": F.relu, "gelu": F.gelu}[activation]
    found = QuantizedLinear(layer.weight, layer.bias, activation)(x)
    scale = layer.weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    rounded = (layer.weight / scale).round() * scale
    seen = back(quantized(x.flatten(0, -2))).view(shape)
    assert distance(found, follow(F.linear(seen, rounded, layer.bias))) < TOLERANCE[torch.float32]
    assert 0 < distance(found, PackedLinear(layer.weight, layer.bias, activation)(x)) < ROUNDING


@needs_int8
@torch.inference_mode()
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 7, 8), (2, 2500, 8)])
def test_a_quantized_feedforward_is_near_the_plain_one(activation, shape):
    torch.manual_seed(0)
    first, second = nn.Linear(8, 21), nn.Linear(21, 8)
    x = torch.randn(shape)
    before = x.clone()
    quantized, plain = (
        feedforward(first, second, activation, torch.float32, products=Products(int8=int8)) for int8 in (True, False)
    )
    expected = plain(x, torch.zeros(shape))
    assert torch.equal(quantized(x, torch.zeros(shape)), expected)
    settle(quantized, "test")
    assert 0 < distance(quantized(x, torch.zeros(shape)), expected) < ROUNDING
    assert torch.equal(x, before)


@needs_int8
@torch.inference_mode()
def test_a_layer_for_which_8_bits_are_not_enough_stays_in_floating_point(caplog):
    """One number stands out so far that all others are rounded to little, and the layer doesn't look at it."""
    torch.manual_seed(0)
    layer, x = nn.Linear(32, 32), torch.randn(100, 32)
    layer.weight[:, 3] = 0
    far = x.clone()
    far[-1, 3] = 500
    judged = nn.ModuleList([lean(layer, torch.float32, products=Products(int8=True)) for _ in range(2)])
    for twin, seen in zip(judged, (x, far), strict=True):
        assert distance(twin(seen), layer(seen)) < TOLERANCE[torch.float32]
    with caplog.at_level(logging.INFO):
        settle(judged, "test")
    assert caplog.messages == ["test: 1 of 2 layers in 8-bit integers"]
    assert 1e-4 < distance(judged[0](x), layer(x)) < ROUNDING
    assert distance(judged[1](far), layer(far)) < TOLERANCE[torch.float32]


@needs_int8
@torch.inference_mode()
@pytest.mark.parametrize(("objects", "n", "m", "c", "v"), [(1, 1030, 2100, 64, 16), (3, 7, 33, 24, 5), (2, 1, 1, 8, 1)])
def test_attention_that_compares_in_8_bits_is_near(objects, n, m, c, v):
    torch.manual_seed(0)
    queries = torch.randn(objects, n, c) / c**0.5
    keys, values = torch.randn(objects, m, c), weighted(torch.randn(objects, m, v))
    expected = attend(queries, blocks_of(keys, values))
    assert distance(attend(queries, blocks_of(keys, values), int8=True), expected) < ROUNDING
    shared = attend(queries[:1], blocks_of(keys, values), int8=True)
    assert distance(shared[:1], expected[:1]) < ROUNDING


@needs_int8
@torch.inference_mode()
def test_what_all_keys_share_costs_no_accuracy():
    torch.manual_seed(0)
    queries, keys, values = torch.randn(1, 50, 16) / 4, torch.randn(1, 1500, 16), weighted(torch.randn(1, 1500, 4))
    common = 100 * torch.randn(16)
    expected = attend(queries, blocks_of(keys, values))
    assert distance(attend(queries, blocks_of(keys + common, values), int8=True), expected) < ROUNDING


def test_where_8_bits_do_not_pay_that_is_said_once(caplog, monkeypatch):
    fresh = int8_pays.__wrapped__
    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
        assert not fresh()
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
        monkeypatch.setattr(int8, "_seconds", lambda made: 1.4 if made is int8._float_product else 1.0)
        assert not fresh()
        monkeypatch.setattr(int8, "_seconds", lambda made: 1.6 if made is int8._float_product else 1.0)
        assert fresh()
    assert caplog.messages == 2 * ["no products of 8-bit integers: they are not faster on this CPU"]


def test_where_torch_lacks_them_that_is_said(caplog, monkeypatch):
    def missing(namespace, name):
        raise AttributeError("no such operator\nand more")

    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.delattr(torch.ops.onednn, "qlinear_prepack", raising=False)
    monkeypatch.setattr(torch._ops._OpNamespace, "__getattr__", missing)
    with caplog.at_level(logging.WARNING):
        assert not int8_pays.__wrapped__()
    assert caplog.messages == ["no products of 8-bit integers: no such operator"]
