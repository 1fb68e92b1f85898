"""Attention in float16 by the kernels of `attention.cpp` and `recall.cpp`.

The eager twin of `attend` is torch's attention, that of `Recall` what it replaces: keys projected, turned and compared
one by one.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F

from trackmatte.kernels.native.build import kernel
from trackmatte.kernels.rope import Rotation

ROWS = 8  # as in half.h


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Softmax attention.

    Args:
        queries, keys, values: (B, N, H, C), (B, M, H, C) and (B, M, H, V) of H heads, float32, channels side by side.
        scale: of scores.

    Returns:
        (B, N, H, V).
    """
    batch, number, heads, width = queries.shape
    out = torch.empty(batch, number, heads, values.shape[-1])
    arguments = [part for each in (queries, keys, values, out) for part in (each.data_ptr(), _strides(each))]
    sizes = batch, heads, number, keys.shape[1], width, values.shape[-1]
    kernel("attend")(*arguments, *sizes, scale, torch.get_num_threads())
    return out


class Recall:
    """Attention to maps of remembered tokens, whose keys are a projection, turned by where the tokens are."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rotation: Rotation, count: float) -> None:
        """Prepares the tables.

        Args:
            weight, bias: of the projection, (C, C_map) and (C,), channels in halves.
            rotation: of a square map's tokens, row by row: the first half of the angles are the column's.
            count: how often a token counts.
        """
        self._count = count
        self._channels, self._width = weight.shape
        self._side = round(len(rotation.cosine) ** 0.5)
        quarter = self._channels // 4
        rows = torch.cat([weight, bias[:, None]], dim=1).detach()
        rows = F.pad(rows, (0, -rows.shape[1] % ROWS)).view(2, 2, quarter, -1)  # of a pair, axis, angle
        tables = [each.view(self._side, self._side, 2, quarter) for each in (rotation.cosine, rotation.sine)]
        self._axes = [
            part.contiguous()
            for axis in (0, 1)
            for part in (*(_along(each, axis) for each in tables), _pairs(rows[:, axis].flatten(0, 1)))
        ]

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
        kernel("recall")(
            queries.data_ptr(), len(queries), self._channels, *(each.data_ptr() for each in self._axes),
            tokens.data_ptr(), values.data_ptr(), len(tokens), self._side, self._width, self._count,
            more_keys.data_ptr(), more_values.data_ptr(), len(more_keys), out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out


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
