import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.kernels.tolerances import TOLERANCE, distance
from trackmatte.kernels import linear
from trackmatte.kernels.linear import PackedLinear, feedforward


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 7, 8), (2, 2500, 8)])
def test_feedforward_gives_what_the_plain_layers_give(monkeypatch, packed, dtype, activation, shape):
    if not packed:
        monkeypatch.setattr(linear, "_pack", lambda weight: None)
    torch.manual_seed(0)
    first, second = nn.Linear(8, 21), nn.Linear(21, 8)
    x = torch.randn(shape)
    with torch.inference_mode():
        onto = torch.randn(shape)
        expected = onto + second({"relu": F.relu, "gelu": F.gelu}[activation](first(x)))
        found = feedforward(first, second, activation, dtype)(x, onto)
    assert found is onto
    assert found.dtype == torch.float32
    assert distance(found, expected) < TOLERANCE[dtype]


@torch.inference_mode()
def test_linear_layers_that_cannot_be_packed_run_eagerly_and_say_so(caplog, monkeypatch):
    layer, x = nn.Linear(8, 5), torch.randn(4, 8)
    with caplog.at_level(logging.WARNING):
        assert distance(PackedLinear(layer.weight, layer.bias)(x), layer(x)) < TOLERANCE[torch.float32]
        assert not caplog.messages
        monkeypatch.delattr(torch.ops.mkldnn, "_reorder_linear_weight")
        monkeypatch.setattr(torch._ops._OpNamespace, "__getattr__", _missing)
        assert distance(PackedLinear(layer.weight, layer.bias)(x), layer(x)) < TOLERANCE[torch.float32]
    assert caplog.messages == ["linear layers are not packed, running eagerly: no such operator"]


def _missing(namespace, name):
    raise AttributeError("no such operator\nand more")
