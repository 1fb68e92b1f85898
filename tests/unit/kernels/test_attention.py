import pytest
import torch
import torch.nn.functional as F
from sam2.modeling.position_encoding import apply_rotary_enc, compute_axial_cis

from tests.unit.kernels.tolerances import TOLERANCE, distance
from trackmatte.kernels import attention
from trackmatte.kernels.attention import ROWS, attend, attend_plainly, blocks_of, weighted
from trackmatte.kernels.rope import halves, rotation


def inputs(objects, queries, keys, width, narrow, scale=1.0):
    torch.manual_seed(0)
    return (
        torch.randn(objects, queries, width) * scale / width**0.5,
        torch.randn(objects, keys, width),
        torch.randn(objects, keys, narrow),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("objects", "queries", "keys", "width", "narrow"),
    [(1, 64, 64, 32, 32), (3, 37, 2 * ROWS + 5, 24, 8), (2, ROWS + 1, 9, 6, 20), (1, 1, 1, 2, 1)],
)
def test_attention_in_blocks_gives_what_torchs_attention_gives(dtype, objects, queries, keys, width, narrow):
    q, k, v = inputs(objects, queries, keys, width, narrow, scale=3.0)
    torch.zeros(4096).exp()  # torch's first one after its attention is at times (2 of 60 processes) rough, to 9e-5
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    q, k, v = (tensor.to(dtype) for tensor in (q, k, weighted(v)))
    assert distance(attend(q, blocks_of(k, v)), expected) < TOLERANCE[dtype]
    assert distance(attend_plainly(q, blocks_of(k, v)), expected) < TOLERANCE[dtype]


@pytest.mark.parametrize(("scale", "last"), [(200.0, 5), (200.0, 0), (10.0, 5), (10.0, 2)])
def test_large_scores_neither_overflow_nor_vanish(scale, last):
    """Scores of tens and of hundreds, the greatest of them in any block."""
    q, k, v = inputs(2, 50, 2 * ROWS + 70, 16, 4, scale=scale)
    k[:, -1] *= last
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    assert distance(attend(q, blocks_of(k, weighted(v))), expected) < 1e-4
    for swapped in ((k.flip(1), v.flip(1)), (k.roll(ROWS, 1), v.roll(ROWS, 1))):
        assert distance(attend(q, blocks_of(swapped[0], weighted(swapped[1]))), expected) < 1e-4


def test_later_blocks_of_greater_scores_are_looked_at_again_only_where_they_must(monkeypatch):
    q, k, v = inputs(1, 50, 2 * ROWS, 16, 4)
    compared = []
    scores = attention._scores
    monkeypatch.setattr(attention, "_scores", lambda part: lambda keys: compared.append(1) or scores(part)(keys))
    for factor, count in ((10, 2), (200, 3)):
        compared.clear()
        later = torch.cat([k[:, :ROWS], factor * k[:, ROWS:]], dim=1)
        found = attend(q, blocks_of(later, weighted(v)))
        assert distance(found, F.scaled_dot_product_attention(q, later, v, scale=1.0)) < 1e-5
        assert len(compared) == count


def test_queries_may_be_shared_by_all_objects():
    q, k, v = inputs(3, 40, 50, 16, 4)
    shared = attend(q[:1], blocks_of(k, weighted(v)))
    assert torch.equal(shared, attend(q[:1].expand(3, -1, -1), blocks_of(k, weighted(v))))
    assert distance(attend_plainly(q[:1], blocks_of(k, weighted(v))), shared) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("attention", [attend, attend_plainly])
def test_a_key_of_weight_four_counts_as_four_keys(attention):
    q, k, v = inputs(1, 20, 12, 16, 4)
    four = attention(
        q, [(k[:, :8].repeat(1, 4, 1), weighted(v[:, :8].repeat(1, 4, 1))), (k[:, 8:], weighted(v[:, 8:]))]
    )
    heavy = attention(q, [(k[:, :8], weighted(v[:, :8], 4.0)), (k[:, 8:], weighted(v[:, 8:]))])
    assert distance(heavy, four) < TOLERANCE[torch.float32]
    assert distance(attention(q, blocks_of(k, weighted(v))), four) > 0.01


@pytest.mark.parametrize(("side", "width"), [(8, 32), (5, 12)])
def test_rotation_is_that_of_the_reference(side, width):
    torch.manual_seed(0)
    x = torch.randn(2, side * side, width)
    turns = compute_axial_cis(width, side, side)
    expected, _ = apply_rotary_enc(x[:, None], x[:, None], turns)
    found = rotation(turns, side)(torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1))
    assert distance(torch.stack(found.chunk(2, dim=-1), dim=-1).flatten(-2), expected[:, 0]) < 1e-6


def test_halves_order_a_projection_as_rotation_wants_its_channels():
    torch.manual_seed(0)
    weight, bias, x = torch.randn(12, 7), torch.randn(12), torch.randn(5, 7)
    y = F.linear(x, weight, bias)
    assert torch.allclose(F.linear(x, halves(weight), halves(bias)), torch.cat([y[:, 0::2], y[:, 1::2]], dim=1))


def test_pooled_rotation_turns_equal_tokens_to_the_mean_of_their_turns():
    torch.manual_seed(0)
    turns = compute_axial_cis(16, 6, 6)
    cells = torch.randn(1, 16, 3, 3)
    every = cells.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3).flatten(2).mT
    turned = rotation(turns, 6)(every).mT.unflatten(2, (6, 6))
    assert distance(rotation(turns, 6, pool=2)(cells.flatten(2).mT).mT, F.avg_pool2d(turned, 2).flatten(2)) < 1e-6
