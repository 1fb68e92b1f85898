"""Memory attention: the twin of `sam2.modeling.memory_attention.MemoryAttention`, for many objects and long memories.

The same sums in another order. What does not depend on the object (the first layer's self-attention) is computed once
for all; values are not projected before an attention but after it, together with its output (see `kernels.attention`);
keys are made in blocks from what the objects remember.

Shapes: O objects, N = h * w tokens of the frame, C their width, M maps of T tokens, P tokens of pointers, C_map wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from sam2.modeling.memory_attention import MemoryAttention as EagerAttention
from sam2.modeling.memory_attention import MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import nn

from trackmatte.kernels.attention import ROWS, Block, attend, blocks_of, weighted
from trackmatte.kernels.linear import Feedforward, settle
from trackmatte.kernels.rope import Rotation, halves, rotation


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """What O objects remember, as all layers read it.

    Attributes:
        placed: (O, M * T, C_map), the maps' tokens with where and when they were added.
        values: (O, M * T, C_map + 1), the same without, from `weighted`.
        pointers: (O, P, C_map), with when they were added.
        pointer_values: (O, P, C_map + 1), the same without.
    """

    placed: torch.Tensor
    values: torch.Tensor
    pointers: torch.Tensor
    pointer_values: torch.Tensor


class MemoryAttention(nn.Module):
    """Stands in for `sam2`'s module, with its weights."""

    def __init__(
        self, eager: EagerAttention, side: int, *, pool: int = 1, dtype: torch.dtype, int8: bool = False
    ) -> None:
        """Takes weights over.

        Args:
            eager: the module; of one head.
            side: tokens of a frame are side * side.
            pool: maps hold means of cells of pool * pool tokens, each of which counts as that many.
            dtype: what products are computed in; sums and norms are float32.
            int8: compares queries with keys, and feeds forward, in 8-bit integers; dtype is then float32.
        """
        super().__init__()
        self._dtype = dtype
        self._settled = not int8
        self._count = float(pool * pool)
        self._at_input: bool = eager.pos_enc_at_input
        self._layers = nn.ModuleList(_Layer(layer, side, pool, dtype, int8) for layer in eager.layers)
        self._norm = eager.norm

    def forward(
        self,
        tokens: torch.Tensor,
        position: torch.Tensor,
        maps: torch.Tensor,
        map_position: torch.Tensor,
        pointers: torch.Tensor,
        pointer_position: torch.Tensor,
    ) -> torch.Tensor:
        """Reads a frame in the light of what O objects remember.

        Args:
            tokens: (1, N, C) of the frame.
            position: (1, N, C), their position encoding.
            maps: (O, M, T, C_map).
            map_position: (M, T, C_map), where and when their tokens were.
            pointers: (O, P, C_map).
            pointer_position: (O, P, C_map), when they were.

        Returns:
            (O, N, C) float32.
        """
        x = tokens.float() + 0.1 * position if self._at_input else tokens.float()
        x = cast(_Layer, self._layers[0]).look(x)
        number = 1 if x.device.type == "cpu" else len(maps)  # of objects at once: one's maps fit into the cache
        groups = (torch.split(each, number) for each in (maps, pointers, pointer_position))
        read = [self._read(x, map_position.flatten(0, 1), *group) for group in zip(*groups, strict=True)]
        if not self._settled:
            settle(self, "memory attention")
            self._settled = True
        return torch.cat(read)

    def _read(
        self,
        x: torch.Tensor,
        map_position: torch.Tensor,
        maps: torch.Tensor,
        pointers: torch.Tensor,
        pointer_position: torch.Tensor,
    ) -> torch.Tensor:
        """The layers for some objects, after the first look: (1, N, C) to (O, N, C)."""
        flat = maps.to(torch.float32).flatten(1, 2)
        remembered = Remembered(
            placed=(flat + map_position).to(self._dtype),
            values=weighted(flat, self._count).to(self._dtype),
            pointers=(pointers + pointer_position).to(self._dtype),
            pointer_values=weighted(pointers).to(self._dtype),
        )
        for i, layer in enumerate(cast(Iterable[_Layer], self._layers)):
            x = layer.remember(x if i == 0 else layer.look(x), remembered)
        normed: torch.Tensor = self._norm(x)
        return normed


class EagerMemoryAttention(nn.Module):
    """The eager twin: `sam2`'s own module behind the same call, for maps that are not pooled."""

    def __init__(self, eager: EagerAttention) -> None:
        super().__init__()
        self._eager = eager

    def forward(
        self,
        tokens: torch.Tensor,
        position: torch.Tensor,
        maps: torch.Tensor,
        map_position: torch.Tensor,
        pointers: torch.Tensor,
        pointer_position: torch.Tensor,
    ) -> torch.Tensor:
        """See `MemoryAttention.forward`."""
        objects = len(maps)
        map_position = map_position.flatten(0, 1)[None].expand(objects, -1, -1)
        attended: torch.Tensor = self._eager(
            curr=tokens.transpose(0, 1).expand(-1, objects, -1),
            curr_pos=position.transpose(0, 1).expand(-1, objects, -1),
            memory=torch.cat([maps.flatten(1, 2).to(pointers.dtype), pointers], dim=1).transpose(0, 1),
            memory_pos=torch.cat([map_position, pointer_position], dim=1).transpose(0, 1),
            num_obj_ptr_tokens=pointers.shape[1],
        )
        return attended.transpose(0, 1)


class _Layer(nn.Module):
    """Self-attention, attention to what is remembered, and two linear layers, each added to its input."""

    def __init__(self, eager: MemoryAttentionLayer, side: int, pool: int, dtype: torch.dtype, int8: bool) -> None:
        super().__init__()
        assert not eager.pos_enc_at_attn
        assert not eager.pos_enc_at_cross_attn_queries
        assert eager.pos_enc_at_cross_attn_keys
        self._norms = nn.ModuleList((eager.norm1, eager.norm2, eager.norm3))
        self._to_itself = _Attention(eager.self_attn, side, 1, dtype, int8)
        self._to_memory = _Attention(eager.cross_attn_image, side, pool, dtype, int8)
        self._feedforward = Feedforward(eager.linear1, eager.linear2, eager.activation_str, dtype, int8=int8)

    def look(self, x: torch.Tensor) -> torch.Tensor:
        """The self-attention: (1 or O, N, C) to the same."""
        y = self._norms[0](x)
        return torch.as_tensor(x + self._to_itself(y, self._to_itself.keys(y)))

    def remember(self, x: torch.Tensor, remembered: Remembered) -> torch.Tensor:
        """The rest: (1 or O, N, C) to (O, N, C)."""
        x = x + self._to_memory(self._norms[1](x), self._to_memory.remembered(remembered))
        return torch.as_tensor(self._feedforward(self._norms[2](x), x))


class _Attention(nn.Module):
    """One rotary attention of one head, without projection of the values before it."""

    def __init__(self, eager: RoPEAttention, side: int, pool: int, dtype: torch.dtype, int8: bool) -> None:
        super().__init__()
        assert eager.num_heads == 1
        self._dtype, self._int8 = dtype, int8
        scale = eager.internal_dim**-0.5
        self._query = _Projection(halves(eager.q_proj.weight) * scale, halves(eager.q_proj.bias) * scale, dtype)
        self._key = _Projection(halves(eager.k_proj.weight), halves(eager.k_proj.bias), dtype)
        out, value = eager.out_proj.weight.double(), eager.v_proj
        bias = out @ value.bias.double() + eager.out_proj.bias.double()
        self._out = _Projection((out @ value.weight.double()).float(), bias.float(), dtype)
        turns = eager.compute_cis(end_x=side, end_y=side).to(eager.q_proj.weight.device)
        self._query_rotation = rotation(turns, side, dtype=dtype)
        self._key_rotation = rotation(turns, side, pool=pool, dtype=dtype)
        self._tokens = len(self._key_rotation.cosine)
        self._maps = max(1, ROWS // self._tokens)  # of a block
        self._block_rotation = self._key_rotation.repeat(self._maps + 1)

    def forward(self, x: torch.Tensor, blocks: Iterator[Block]) -> torch.Tensor:
        """(1 or O, N, C) and keys with values of O objects to (O, N, C)."""
        attended = attend(self._query_rotation(self._query(x)), blocks, int8=self._int8)
        return torch.as_tensor(self._out(attended).float())

    def keys(self, x: torch.Tensor) -> Iterator[Block]:
        """A map as keys and values of its own: (B, T, C)."""
        return blocks_of(self._key_rotation(self._key(x)), weighted(x).to(self._dtype))

    def remembered(self, remembered: Remembered) -> Iterator[Block]:
        """Maps and pointers as keys and values."""
        step = min(ROWS, self._tokens * self._maps)
        for start in range(0, remembered.placed.shape[1], step):
            part = remembered.placed[:, start : start + step]
            at = slice(start % self._tokens, start % self._tokens + part.shape[1])
            turned = Rotation(self._block_rotation.cosine[at], self._block_rotation.sine[at])
            yield turned(self._key(part)), remembered.values[:, start : start + step]
        yield self._key(remembered.pointers), remembered.pointer_values


class _Projection(nn.Module):
    """A linear layer in a format of its own."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self._weight, self._bias = weight.detach().to(dtype), bias.detach().to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias)
