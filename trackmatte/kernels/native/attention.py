"""Attention in half formats, in lanes by `attention.cpp` and `recall.cpp`, in tiles by the files named so.

The eager twin of `attend` is torch's attention, that of `Recall` and `TiledRecall` what they replace: keys projected,
turned and compared one by one.
"""

from __future__ import annotations

import ctypes
import math
from itertools import chain

import torch
import torch.nn.functional as F
from torch import nn

from trackmatte.kernels.native.build import Engine, kernel
from trackmatte.kernels.native.linear import NormArguments, packed
from trackmatte.kernels.rope import Rotation

ROWS = 8  # as in half.h
Layer = tuple[torch.Tensor, torch.Tensor]  # weight and bias


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, *, engine: Engine
) -> torch.Tensor:
    """Softmax attention.

    Args:
        queries, keys, values: (B, N, H, C), (B, M, H, C) and (B, M, H, V) of H heads, float32, channels side by side.
        scale: of scores.
        engine: what multiplies.

    Returns:
        (B, N, H, V).
    """
    batch, number, heads, width = queries.shape
    out = torch.empty(batch, number, heads, values.shape[-1])
    arguments = [part for each in (queries, keys, values, out) for part in (each.data_ptr(), _strides(each))]
    sizes = batch, heads, number, keys.shape[1], width, values.shape[-1]
    kernel("attend", engine)(*arguments, *sizes, scale, torch.get_num_threads())
    return out


class Recall:
    """Attention to maps of remembered tokens, whose keys are a projection, turned by where they are, in lanes."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rotation: Rotation, count: float) -> None:
        """Prepares the tables.

        Args:
            weight, bias: of the projection, (C, C_map) and (C,), channels in halves.
            rotation: of a square map's tokens, row by row: the first half of the angles are the column's.
            count: how often a token counts.
        """
        self._run = kernel("recall", "float16 lanes")
        self._count = count
        self._channels, self._width = weight.shape
        self._side = round(len(rotation.cosine) ** 0.5)
        self._tables = _by_axis(weight.detach(), bias.detach(), rotation)

    def __call__(
        self,
        queries: torch.Tensor,
        tokens: torch.Tensor,
        values: torch.Tensor,
        more_keys: torch.Tensor,
        more_values: torch.Tensor,
    ) -> torch.Tensor:
        """Reads the memory of one object.

        Args:
            queries: (N, C), turned and scaled.
            tokens: (M, T, C_map), what keys are made of.
            values: (M, T, C_map).
            more_keys: (P, C), of pointers, not turned.
            more_values: (P, C_map).

        Returns:
            (N, C_map).
        """
        queries, tokens, values, more_keys, more_values = (
            each.contiguous() for each in (queries, tokens, values, more_keys, more_values)
        )
        out = torch.empty(len(queries), self._width)
        self._run(
            queries.data_ptr(), len(queries), self._channels, *(each.data_ptr() for each in self._tables),
            tokens.data_ptr(), values.data_ptr(), len(tokens), self._side, self._width, self._count,
            more_keys.data_ptr(), more_values.data_ptr(), len(more_keys), out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out


class TiledRecall:
    """The same by tiles, with its norm, projections of queries and output, and to the tokens themselves, too."""

    def __init__(
        self,
        norm: nn.Module,
        query: tuple[Layer, Rotation],
        key: tuple[Layer, Rotation],
        out: Layer,
        count: float,
        *,
        engine: Engine,
    ) -> None:
        """Prepares the layers.

        Args:
            norm: over channels, what comes first.
            query, key: C to C and C_map to C, channels in halves, and how their results turn; queries are scaled.
            out: C_map to C.
            count: how often a token counts.
            engine: one of tiles.
        """
        self._run = kernel("recall", engine)
        self._norm, self._count = NormArguments(norm), count
        (weight, bias), turn = query
        in_powers_of_two = weight / math.log(2), bias / math.log(2)
        layers = [packed(*layer, engine) for layer in (in_powers_of_two, key[0], out)]
        tables = [[each.cosine, each.sine] for each in (turn, key[1])]
        self._kept = layers, tables
        pointers = [list(layer.arguments[:2]) for layer in layers]
        for its, table in zip(pointers, tables, strict=False):
            its += [part.data_ptr() for part in table]
        self._arguments = [*self._norm.arguments, *chain.from_iterable(pointers)]
        self._width, self._places = key[0][0].shape[1], len(key[1].cosine)

    def to_itself(self, x: torch.Tensor, out: torch.Tensor) -> None:
        """Args: x: (N, C), at places of the keys' rotation. out: (N, C), becomes x and what it finds in itself."""
        self.to_memory(x, out, x, x, x[:0], x[:0])

    def to_memory(
        self,
        x: torch.Tensor,
        out: torch.Tensor,
        tokens: torch.Tensor,
        values: torch.Tensor,
        more_tokens: torch.Tensor,
        more_values: torch.Tensor,
    ) -> None:
        """Reads the memory of one object; all are float32, and contiguous.

        Args:
            x: (N, C).
            out: (N, C), becomes x and what it finds.
            tokens, values: (M * T, C_map), what keys are made of, and what they tell.
            more_tokens, more_values: (P, C_map), of pointers, not turned.
        """
        given = x, out, tokens, values, more_tokens, more_values
        assert all(each.is_contiguous() and each.dtype == torch.float32 for each in given)
        self._run(
            x.data_ptr(), *x.shape, *self._arguments, tokens.data_ptr(), values.data_ptr(), len(tokens), self._width,
            self._places, self._count, more_tokens.data_ptr(), more_values.data_ptr(), len(more_tokens),
            out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip


def _by_axis(weight: torch.Tensor, bias: torch.Tensor, rotation: Rotation) -> list[torch.Tensor]:
    """Of columns, then of rows: cosines, sines, and the rows of the projection that they turn."""
    side, quarter = round(len(rotation.cosine) ** 0.5), len(weight) // 4
    rows = torch.cat([weight, bias[:, None]], dim=1)
    rows = F.pad(rows, (0, -rows.shape[1] % ROWS)).view(2, 2, quarter, -1)  # of a pair, axis, angle
    tables = [each.view(side, side, 2, quarter) for each in (rotation.cosine, rotation.sine)]
    return [
        part.contiguous()
        for axis in (0, 1)
        for part in (*(_along(each, axis) for each in tables), _pairs(rows[:, axis].flatten(0, 1)))
    ]


def _along(table: torch.Tensor, axis: int) -> torch.Tensor:
    """(side, side, 2, angles) of rows and columns to (side, angles): axis 0 is the columns'."""
    return table[:, 0, 1] if axis else table[0, :, 0]


def _pairs(numbers: torch.Tensor) -> torch.Tensor:
    """Each number in float16, twice, as half.h spreads it over lanes: int32."""
    bits = numbers.to(torch.float16).contiguous().view(torch.int16).to(torch.int32) & 0xFFFF
    return bits | bits << 16


def _strides(x: torch.Tensor) -> ctypes.Array[ctypes.c_long]:
    assert x.stride(-1) == 1
    return (ctypes.c_long * 3)(*x.stride()[:3])
