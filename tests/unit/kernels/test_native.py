"""Our own kernels beside their eager twins, on odd shapes too, and how they are built."""

import logging
import os

import pytest
import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import MultiScaleBlock
from sam2.modeling.position_encoding import compute_axial_cis
from torch import nn

from tests.unit.kernels.tolerances import ENGINE_TOLERANCE, TOLERANCE, distance
from trackmatte.kernels.linear import Feedforward, PackedLinear, feedforward
from trackmatte.kernels.native import build
from trackmatte.kernels.native.attention import Recall, TiledRecall, attend
from trackmatte.kernels.native.linear import NativeFeedforward, NativeLinear
from trackmatte.kernels.native.window import WindowAttention
from trackmatte.kernels.precision import Products, resolve_dtype
from trackmatte.kernels.rope import rotation

needs_native = pytest.mark.skipif(build.library() is None, reason="this machine can't build or run float16 kernels")
CPU = torch.device("cpu")


@torch.inference_mode()
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize(("shape", "outputs"), [((1, 8), 8), ((3, 5, 7, 100), 70), ((1000, 384), 129), ((65, 300), 64)])
def test_linear_layers_give_what_the_packed_ones_give(engine, activation, shape, outputs):
    torch.manual_seed(0)
    layer, x = nn.Linear(shape[-1], outputs), torch.randn(shape)
    before = x.clone()
    found = NativeLinear(layer.weight, layer.bias, activation, engine=engine)(x)
    assert found.dtype == torch.float32
    assert distance(found, PackedLinear(layer.weight, layer.bias, activation)(x)) < ENGINE_TOLERANCE[engine]
    assert torch.equal(x, before)


@torch.inference_mode()
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 5, 7, 40), (2, 1100, 96)])
def test_feedforward_gives_what_the_packed_layers_give(engine, activation, shape, normed):
    torch.manual_seed(0)
    width = shape[-1]
    first, second = nn.Linear(width, 3 * width + 5), nn.Linear(3 * width + 5, width)
    x, onto = torch.randn(shape), torch.randn(shape)
    norm = norm_and_layers(width, width)[0] if normed else None
    plain = second(getattr(F, activation)(first(norm(x) if normed else x)))
    expected = feedforward(first, second, activation, torch.float32, norm=norm)(x, onto.clone())
    assert distance(expected, onto + plain) < TOLERANCE[torch.float32]
    made = feedforward(first, second, activation, torch.float32, products=Products(native=engine), norm=norm)
    assert isinstance(made, NativeFeedforward)
    assert not isinstance(made, Feedforward)
    found = made(x, onto)
    assert found is onto
    assert distance(found, expected) < ENGINE_TOLERANCE[engine]


@needs_native
@torch.inference_mode()
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize(("shape", "outputs"), [((1, 8), 8), ((3, 5, 7, 99), 70), ((1000, 384), 33), ((65, 302), 64)])
def test_linear_layers_in_8_bits_are_near(activation, shape, outputs):
    """Rows of other sizes, too: each has a scale of its own."""
    torch.manual_seed(0)
    layer = nn.Linear(shape[-1], outputs)
    x = torch.randn(shape) * 10.0 ** torch.linspace(-3, 3, shape[-2])[:, None]
    native = NativeLinear(layer.weight, layer.bias, activation, engine="int8 lanes")
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
    judged = feedforward(first, second, "gelu", torch.float32, products=Products(native="float16 lanes", int8=True))
    exactly = judged(x, torch.ones(shape))
    assert distance(exactly, expected) < ENGINE_TOLERANCE["float16 lanes"]
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
    judged = feedforward(first, second, "gelu", torch.float32, products=Products(native="float16 lanes", int8=True))
    exactly = judged(x, torch.zeros(50, 64))
    assert not judged.settle()
    assert torch.equal(judged(x, torch.zeros(50, 64)), exactly)


@needs_native
@torch.inference_mode()
def test_rows_of_zeros_and_of_one_number_are_no_trouble_in_8_bits():
    layer = nn.Linear(20, 20)
    x = torch.stack([torch.zeros(20), torch.full((20,), 3.0), torch.full((20,), -3.0)])
    assert distance(NativeLinear(layer.weight, layer.bias, engine="int8 lanes")(x), layer(x)) < 0.01


@torch.inference_mode()
def test_gelu_is_right_everywhere(engine):
    x = torch.linspace(-12, 12, 4001)[:, None].to(torch.bfloat16).float()  # as all formats have them
    gelu = NativeLinear(torch.ones(1, 1), torch.zeros(1), "gelu", engine=engine)(x)
    assert (gelu - F.gelu(x)).abs().max() < 5e-5


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
def test_attention_gives_what_torchs_attention_gives(engine, batch, queries, keys, heads, width, values):
    torch.manual_seed(0)
    q, k, v = (torch.randn(batch, n, heads, c) for n, c in ((queries, width), (keys, width), (keys, values)))
    expected = F.scaled_dot_product_attention(*(each.transpose(1, 2) for each in (q, k, v))).transpose(1, 2)
    assert distance(attend(q, k, v, width**-0.5, engine=engine), expected) < ENGINE_TOLERANCE[engine]


@torch.inference_mode()
def test_attention_reads_tensors_that_lie_side_by_side(engine):
    torch.manual_seed(0)
    both = torch.randn(2, 70, 3, 2, 24)
    apart = [each.contiguous() for each in both.unbind(2)]
    assert torch.equal(attend(*both.unbind(2), 0.2, engine=engine), attend(*apart, 0.2, engine=engine))


@torch.inference_mode()
@pytest.mark.parametrize("late", [True, False])
def test_large_scores_neither_overflow_nor_vanish(engine, late):
    """The greatest are in the first block of keys, or in the last; they are whole numbers, which float16 keeps."""
    torch.manual_seed(0)
    q, v = torch.ones(1, 10, 1, 16), torch.randn(1, 400, 1, 8)
    k = torch.full((1, 400, 1, 16), -3.0)
    k[0, -3 if late else 3] = 4
    found = attend(q, k, v, 1.0, engine=engine)
    assert distance(found, v[:, -3 if late else 3][:, None].expand(1, 10, 1, 8)) < ENGINE_TOLERANCE[engine]
    low = attend(
        q * torch.linspace(20, 21, 10)[:, None, None], k * 21, v, 1.0, engine=engine
    )  # differences beyond 65,504
    assert distance(low, found) == 0
    even = attend(q, torch.full_like(k, 30.0), v, 1.0, engine=engine)
    assert distance(even, v.mean(dim=1, keepdim=True).expand(1, 10, 1, 8)) < 3 * ENGINE_TOLERANCE[engine]


@torch.inference_mode()
def test_many_small_weights_count(engine):
    """Each of 4,000 keys weighs a hundred-thousandth of the greatest, all of them 4 %."""
    q, k = torch.ones(1, 1, 1, 1), torch.full((1, 4001, 1, 1), -11.5)
    k[0, 0] = 0
    v = torch.zeros(1, 4001, 1, 1)
    v[0, 1:] = 1
    share = 4000 * torch.tensor(-11.5).exp()
    assert (
        abs(attend(q, k, v, 1.0, engine=engine).item() / (share / (1 + share)).item() - 1)
        < 2 * ENGINE_TOLERANCE[engine]
    )


def plainly(queries, weight, bias, turned, tokens, values, more_keys, more_values, count):
    """Keys made and turned one by one."""
    keys = torch.cat([turned(F.linear(tokens, weight, bias)).flatten(0, 1), more_keys])
    often = torch.cat([torch.full((tokens.shape[0] * tokens.shape[1],), count).log(), torch.zeros(len(more_keys))])
    return (queries @ keys.T + often).softmax(dim=1) @ torch.cat([values.flatten(0, 1), more_values])


by_memory = pytest.mark.parametrize(
    ("side", "pool", "width", "narrow", "maps", "more"),
    [
        (8, 1, 32, 8, 1, 3),
        (10, 2, 256, 64, 7, 64),
        (13, 1, 128, 16, 3, 5),
        (12, 2, 64, 16, 17, 130),
        (6, 1, 64, 8, 8, 0),
    ],
)


def memory(side, pool, width, narrow, maps, more):
    """The keys' layer and rotation, tokens and values of maps, tokens and values of pointers."""
    torch.manual_seed(0)
    layer = torch.randn(width, narrow) / narrow**0.5, torch.randn(width)
    turned = rotation(compute_axial_cis(width, side, side), side, pool=pool)
    maps = [torch.randn(maps, (side // pool) ** 2, narrow) for _ in range(2)]
    return layer, turned, maps, [torch.randn(more, narrow) for _ in range(2)]


@needs_native
@torch.inference_mode()
@by_memory
def test_recall_gives_what_keys_made_one_by_one_give(side, pool, width, narrow, maps, more):
    (weight, bias), turned, (tokens, values), (pointers, told) = memory(side, pool, width, narrow, maps, more)
    queries = rotation(compute_axial_cis(width, side, side), side)(torch.randn(1, side * side, width))[0]
    queries *= 3 / width**0.5
    given = tokens, values, F.linear(pointers, weight, bias), told
    found = Recall(weight, bias, turned, float(pool**2))(queries, *given)
    expected = plainly(queries, weight, bias, turned, *given, float(pool**2))
    assert distance(found, expected) < 3 * ENGINE_TOLERANCE["float16 lanes"]
    assert distance(Recall(weight, 0 * bias, turned, float(pool**2))(queries, *given), expected) > 0.05


def norm_and_layers(width, narrow):
    """A norm, and the layers of queries, scaled, and of outputs."""
    norm = nn.LayerNorm(width)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    query = torch.randn(width, width) * 2 / width, torch.randn(width) / width**0.5
    return norm, query, (torch.randn(width, narrow), torch.randn(width))


@torch.inference_mode()
@by_memory
def test_recall_by_tiles_gives_what_keys_made_one_by_one_give(tiles, side, pool, width, narrow, maps, more):
    (weight, bias), turned, (tokens, values), (pointers, told) = memory(side, pool, width, narrow, maps, more)
    norm, query, out = norm_and_layers(width, narrow)
    turn, x, count = rotation(compute_axial_cis(width, side, side), side), torch.randn(side * side, width), pool**2
    recall = TiledRecall(norm, (query, turn), ((weight, bias), turned), out, float(count), engine=tiles)
    found = torch.empty_like(x)
    recall.to_memory(x, found, tokens.flatten(0, 1), values.flatten(0, 1), pointers, told)
    queries, keys = turn(F.linear(norm(x), *query)), F.linear(pointers, weight, bias)
    expected = F.linear(plainly(queries, weight, bias, turned, tokens, values, keys, told, float(count)), *out)
    assert distance(found - x, expected) < 3 * ENGINE_TOLERANCE[tiles]
    assert expected.std(dim=0).mean() > 0.1
    again = x.clone()
    recall.to_memory(again, again, tokens.flatten(0, 1), values.flatten(0, 1), pointers, told)
    assert torch.equal(again, found), "in place, too"


@torch.inference_mode()
@pytest.mark.parametrize(("side", "width"), [(7, 32), (9, 64), (20, 256)])
def test_tokens_look_at_themselves_by_tiles(tiles, side, width):
    torch.manual_seed(0)
    norm, query, out = norm_and_layers(width, width)
    key, turn = (
        (torch.randn(width, width) / width**0.5, torch.randn(width)),
        rotation(compute_axial_cis(width, side, side), side),
    )
    x, found = torch.randn(2, side * side, width)
    TiledRecall(norm, (query, turn), (key, turn), out, 1.0, engine=tiles).to_itself(x, found)
    normed = norm(x)
    scores = turn(F.linear(normed, *query)) @ turn(F.linear(normed, *key)).mT
    assert distance(found - x, F.linear(scores.softmax(dim=-1) @ normed, *out)) < 3 * ENGINE_TOLERANCE[tiles]


@torch.inference_mode()
@pytest.mark.parametrize(
    ("height", "width", "channels", "outputs", "heads", "window"),
    [
        (8, 8, 32, 32, 1, 8),
        (10, 12, 64, 64, 2, 4),  # windows over the edge
        (16, 18, 40, 40, 2, 7),
        (14, 14, 96, 96, 1, 14),
        (20, 20, 48, 96, 4, 8),  # pooled
        (4, 6, 32, 72, 3, 16),
    ],
)
def test_window_attention_gives_what_a_block_of_sam2_gives(tiles, height, width, channels, outputs, heads, window):
    torch.manual_seed(0)
    pooled = outputs != channels
    stride = (2, 2) if pooled else None
    block = MultiScaleBlock(channels, outputs, heads, q_stride=stride, window_size=window, act_layer=nn.GELU)
    for each in block.parameters():
        nn.init.normal_(each, std=0.5)
    block.mlp = Zeros()
    x = torch.randn(1, height, width, channels)
    expected = block(x)
    attention = WindowAttention(
        block.norm1,
        block.attn.qkv,
        block.attn.proj,
        block.proj if pooled else None,
        heads=heads,
        side=window,
        engine=tiles,
    )
    found = attention(x, torch.full_like(expected, torch.nan) if pooled else x)
    assert distance(found, expected) < 3 * ENGINE_TOLERANCE[tiles]


class Zeros(nn.Module):
    def forward(self, x):
        return torch.zeros(())


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As on a machine where nothing was built yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    yield tmp_path
    forget()


def forget():
    build.library.cache_clear()
    build.engines.cache_clear()


def said(caplog):
    assert build.library() is None
    assert build.library() is None
    assert build.engines() == ()
    assert build.native_format(small=True) is None
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
        forget()
        assert build.library() is not None
    assert [message.startswith("compiling float16 kernels") for message in caplog.messages] == [True]
    assert len(list((fresh / "cache/trackmatte").iterdir())) == 1


LANES = ("float16 lanes", "int8 lanes")


@pytest.mark.parametrize(
    ("here", "best", "for_small", "bfloat16"),
    [
        (("float16 tiles", "bfloat16 tiles", *LANES), torch.float16, torch.float16, "bfloat16 tiles"),
        (("bfloat16 tiles", *LANES), torch.bfloat16, torch.float16, "bfloat16 tiles"),
        (LANES, torch.float16, torch.float16, None),
    ],
)
def test_auto_is_what_the_fastest_engine_multiplies(monkeypatch, here, best, for_small, bfloat16):
    """Small networks' masks do not bear bfloat16."""
    monkeypatch.setattr(build, "engines", lambda: here)
    assert resolve_dtype("auto", CPU, compile=True) == best
    assert resolve_dtype("auto", CPU, compile=True, small=True) == for_small
    assert resolve_dtype("auto", CPU) != torch.float16
    assert build.engine_of(torch.float16) == next(each for each in here if each.startswith("float16"))
    assert build.engine_of(torch.bfloat16) == bfloat16
    assert build.engine_of(torch.float32) is None


@needs_native
def test_engines_are_what_the_cpu_says_it_has():
    flags = build.Path("/proc/cpuinfo").read_text()
    assert build.engines()[-2:] == LANES
    assert ("bfloat16 tiles" in build.engines()) == ("amx_bf16" in flags)
    assert "float16 tiles" not in build.engines() or "bfloat16 tiles" in build.engines()


@torch.inference_mode()
def test_tiles_leave_those_of_others_alone(engine):
    """torch's own products in bfloat16 take them as well."""
    torch.manual_seed(0)
    left, right = torch.randn(2, 300, 300).to(torch.bfloat16)
    layer = nn.Linear(40, 40)
    native = NativeLinear(layer.weight, layer.bias, engine=engine)
    expected = left @ right
    for _ in range(3):
        native(torch.randn(200, 40))
        assert torch.equal(left @ right, expected)
