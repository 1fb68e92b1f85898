"""Memory attention: the twin of `sam2.modeling.memory_attention.MemoryAttention`, for many objects and long memories.

The same sums in another order. What does not depend on the object (the first layer's self-attention) is computed once
for all; values are not projected before an attention but after it, together with its output (see `kernels.attention`);
keys are made in blocks from what the objects remember.

Shapes: O objects, N = h * w tokens of the frame, C their width, M maps of T tokens, P tokens of pointers, C_map wide.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from sam2.modeling.memory_attention import MemoryAttention as EagerAttention
from sam2.modeling.memory_attention import MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import nn

from trackmatte.kernels.linear import feedforward, settle
from trackmatte.kernels.precision import PLAIN, Products
from trackmatte.tracker.rotary import LanesRotaryAttention, Remembered, RotaryAttention, TiledRotaryAttention


class MemoryAttention(nn.Module):
    """Stands in for `sam2`'s module, with its weights."""

    def __init__(
        self, eager: EagerAttention, side: int, *, pool: int = 1, dtype: torch.dtype, products: Products = PLAIN
    ) -> None:
        """Takes weights over.

        Args:
            eager: the module; of one head.
            side: tokens of a frame are side * side.
            pool: maps hold means of cells of pool * pool tokens, each of which counts as that many.
            dtype: what products are computed in; sums and norms are float32.
            products: what multiplies; in 8 bits torch compares queries with keys, too. If not plain, dtype is float32.
        """
        super().__init__()
        self._dtype = dtype
        self._settled = not products.int8
        self._count = float(pool * pool)
        self._at_input: bool = eager.pos_enc_at_input
        self._layers = nn.ModuleList(_Layer(layer, side, pool, dtype, products) for layer in eager.layers)
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
        read = [self._read(x, map_position, *group) for group in zip(*groups, strict=True)]
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
        maps = maps.to(torch.float32)
        remembered = Remembered(
            maps=maps.to(self._dtype),
            placed=(maps + map_position).to(self._dtype),
            pointers=pointers.to(self._dtype),
            placed_pointers=(pointers + pointer_position).to(self._dtype),
            count=self._count,
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
        for part in eager.modules():
            if isinstance(part, RoPEAttention):
                part.freqs_cis = part.freqs_cis.to(part.q_proj.weight.device)  # which it else does when it runs first

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

    def __init__(
        self, eager: MemoryAttentionLayer, side: int, pool: int, dtype: torch.dtype, products: Products
    ) -> None:
        super().__init__()
        assert not eager.pos_enc_at_attn
        assert not eager.pos_enc_at_cross_attn_queries
        assert eager.pos_enc_at_cross_attn_keys
        parts = ((eager.norm1, eager.self_attn, 1), (eager.norm2, eager.cross_attn_image, pool))
        self._look, self._remember = (_rotary(norm, part, side, cell, dtype, products) for norm, part, cell in parts)
        self._feedforward = feedforward(
            eager.linear1, eager.linear2, eager.activation_str, dtype, products=products, norm=eager.norm3
        )

    def look(self, x: torch.Tensor) -> torch.Tensor:
        """The self-attention: (1 or O, N, C) to the same."""
        return torch.as_tensor(self._look.to_itself(x))

    def remember(self, x: torch.Tensor, remembered: Remembered) -> torch.Tensor:
        """The rest: (1 or O, N, C) to (O, N, C)."""
        x = self._remember.to_memory(x, remembered)
        return torch.as_tensor(self._feedforward(x, x))


def _rotary(
    norm: nn.Module, eager: RoPEAttention, side: int, pool: int, dtype: torch.dtype, products: Products
) -> RotaryAttention | LanesRotaryAttention | TiledRotaryAttention:
    if products.tiles:
        return TiledRotaryAttention(norm, eager, side, pool, products.tiles)
    if products.native:
        return LanesRotaryAttention(norm, eager, side, pool)
    return RotaryAttention(norm, eager, side, pool, dtype, int8=products.int8)
