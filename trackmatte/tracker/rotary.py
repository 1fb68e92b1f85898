"""Rotary attention of one head: of a frame to itself, and to what its objects remember, each with norm and shortcut.

Values are not projected before an attention but after it, together with its output (see `kernels.attention`).

Shapes: O objects, N = h * w tokens of the frame, C their width, M maps of T tokens, P tokens of pointers, C_map wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from sam2.modeling.sam.transformer import RoPEAttention
from torch import nn

from trackmatte.kernels.attention import ROWS, Block, attend, blocks_of, weighted
from trackmatte.kernels.native.attention import Recall, TiledRecall
from trackmatte.kernels.native.attention import attend as attend_natively
from trackmatte.kernels.native.build import Engine
from trackmatte.kernels.native.linear import NativeLinear
from trackmatte.kernels.rope import Rotation, halves, rotation

LANES: Engine = "float16 lanes"


@dataclass(frozen=True, eq=False)
class Remembered:
    """What O objects remember, as all layers read it.

    Attributes:
        maps: (O, M, T, C_map).
        placed: (O, M, T, C_map), the same with where and when they were added.
        pointers: (O, P, C_map).
        placed_pointers: (O, P, C_map), the same with when they were added.
        count: how often each token of a map counts.
    """

    maps: torch.Tensor
    placed: torch.Tensor
    pointers: torch.Tensor
    placed_pointers: torch.Tensor
    count: float

    @cached_property
    def values(self) -> torch.Tensor:
        """(O, M * T, C_map + 1), of the maps, from `weighted`."""
        return weighted(self.maps.flatten(1, 2), self.count)

    @cached_property
    def pointer_values(self) -> torch.Tensor:
        """(O, P, C_map + 1), from `weighted`."""
        return weighted(self.pointers)


class RotaryAttention(nn.Module):
    """By torch."""

    def __init__(
        self, norm: nn.Module, eager: RoPEAttention, side: int, pool: int, dtype: torch.dtype, *, int8: bool = False
    ) -> None:
        """Args: see `MemoryAttention`. norm: what comes first. int8: compares queries and keys in 8-bit integers."""
        super().__init__()
        self._norm = norm
        self._dtype, self._int8 = dtype, int8
        parts = _parts(eager)
        self._query, self._key, self._out = (_Projection(*parts[name], dtype) for name in ("query", "key", "out"))
        turns = eager.compute_cis(end_x=side, end_y=side).to(eager.q_proj.weight.device)
        self._query_rotation = rotation(turns, side, dtype=dtype)
        self._key_rotation = rotation(turns, side, pool=pool, dtype=dtype)
        self._tokens = len(self._key_rotation.cosine)
        self._maps = max(1, ROWS // self._tokens)  # of a block
        self._block_rotation = self._key_rotation.repeat(self._maps + 1)

    def to_itself(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, C) to the same, float32."""
        normed = self._norm(x)
        blocks = blocks_of(self._key_rotation(self._key(normed)), weighted(normed).to(self._dtype))
        return torch.as_tensor(x + self._answer(normed, blocks))

    def to_memory(self, x: torch.Tensor, remembered: Remembered) -> torch.Tensor:
        """(1 or O, N, C) to (O, N, C), float32."""
        return torch.as_tensor(x + self._answer(self._norm(x), self._blocks(remembered)))

    def _answer(self, x: torch.Tensor, blocks: Iterator[Block]) -> torch.Tensor:
        attended = attend(self._query_rotation(self._query(x)), blocks, int8=self._int8)
        return torch.as_tensor(self._out(attended).float())

    def _blocks(self, remembered: Remembered) -> Iterator[Block]:
        """Maps and pointers as keys and values."""
        placed = remembered.placed.flatten(1, 2)
        step = min(ROWS, self._tokens * self._maps)
        for start in range(0, placed.shape[1], step):
            part = placed[:, start : start + step]
            at = slice(start % self._tokens, start % self._tokens + part.shape[1])
            turned = Rotation(self._block_rotation.cosine[at], self._block_rotation.sine[at])
            yield turned(self._key(part)), remembered.values[:, start : start + step]
        if remembered.pointers.shape[1]:
            yield self._key(remembered.placed_pointers), remembered.pointer_values


class LanesRotaryAttention(nn.Module):
    """By our own kernels, in lanes of float16."""

    def __init__(self, norm: nn.Module, eager: RoPEAttention, side: int, pool: int) -> None:
        """Args: see `RotaryAttention`."""
        super().__init__()
        self._norm = norm
        parts = _parts(eager)
        self._query, self._key, self._out = (
            NativeLinear(*parts[name], engine=LANES) for name in ("query", "key", "out")
        )
        turns = eager.compute_cis(end_x=side, end_y=side).to(eager.q_proj.weight.device)
        self._rotation = rotation(turns, side)
        self._recall = Recall(*parts["key"], rotation(turns, side, pool=pool), float(pool * pool))

    def to_itself(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, C) to the same."""
        normed = self._norm(x)
        queries, keys = (self._rotation(made(normed))[:, :, None] for made in (self._query, self._key))
        found = attend_natively(queries, keys, normed[:, :, None], 1.0, engine=LANES)[:, :, 0]
        return torch.as_tensor(x + self._out(found))

    def to_memory(self, x: torch.Tensor, remembered: Remembered) -> torch.Tensor:
        """(1 or O, N, C) to (O, N, C)."""
        queries = self._rotation(self._query(self._norm(x)))
        pointer_keys = self._key(remembered.placed_pointers)
        memories = zip(remembered.placed, remembered.maps, pointer_keys, remembered.pointers, strict=True)
        found = [self._recall(queries[i % len(queries)], *memory) for i, memory in enumerate(memories)]
        return torch.as_tensor(x + self._out(torch.stack(found)))


class TiledRotaryAttention(nn.Module):
    """By our own kernels, in tiles."""

    def __init__(self, norm: nn.Module, eager: RoPEAttention, side: int, pool: int, engine: Engine) -> None:
        """Args: see `RotaryAttention`. engine: what multiplies."""
        super().__init__()
        parts = _parts(eager)
        turns = eager.compute_cis(end_x=side, end_y=side).to(eager.q_proj.weight.device)
        query, key = (parts["query"], rotation(turns, side)), (parts["key"], rotation(turns, side, pool=pool))
        self._recall = TiledRecall(norm, query, key, parts["out"], float(pool * pool), engine=engine)

    def to_itself(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, C) to the same."""
        out = torch.empty_like(x)
        for its, place in zip(x, out, strict=True):
            self._recall.to_itself(its, place)
        return out

    def to_memory(self, x: torch.Tensor, remembered: Remembered) -> torch.Tensor:
        """(1 or O, N, C) to (O, N, C)."""
        maps = remembered.placed.flatten(1, 2), remembered.maps.flatten(1, 2)
        out = torch.empty(len(remembered.maps), *x.shape[1:])
        memories = zip(out, *maps, remembered.placed_pointers, remembered.pointers, strict=True)
        for i, memory in enumerate(memories):
            self._recall.to_memory(x[i % len(x)], *memory)
        return out


def _parts(eager: RoPEAttention) -> dict[Literal["query", "key", "out"], tuple[torch.Tensor, torch.Tensor]]:
    """Weights and biases: of queries, scaled, and of keys, both in halves; of the values' and the output's in one."""
    assert eager.num_heads == 1
    scale = eager.internal_dim**-0.5
    out, value = eager.out_proj.weight.double(), eager.v_proj
    bias = out @ value.bias.double() + eager.out_proj.bias.double()
    return {
        "query": (halves(eager.q_proj.weight) * scale, halves(eager.q_proj.bias) * scale),
        "key": (halves(eager.k_proj.weight), halves(eager.k_proj.bias)),
        "out": ((out @ value.weight.double()).float(), bias.float()),
    }


class _Projection(nn.Module):
    """A linear layer in a format of its own."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self._weight, self._bias = weight.detach().to(dtype), bias.detach().to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias)
