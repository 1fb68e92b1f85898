"""Attention of one head whose scores never leave the cache, with values narrower than keys.

A block of keys is compared with a block of queries, turned into weights and applied to the values before the next, as
in FlashAttention (arXiv 2205.14135). Two things make it cheaper than `scaled_dot_product_attention` in SAM 2's memory
attention. Weights sum to 1, so that a projection of the values may as well follow the attention: the values are then
the memory itself, 64 channels for 256. And keys are made block by block, where they are used, so that they are neither
kept in memory nor read from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from trackmatte.kernels.int8 import Quantized, QuantizedLinear, quantized

_MUCH = {torch.float32: 1e30, torch.bfloat16: 1e4, torch.float16: 1e4}  # for the weights of a query in a block
ROWS = 1024  # queries, and keys, of a block: scores of 4 MB in float32
Block = tuple[torch.Tensor, torch.Tensor]


def weighted(values: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
    """Values as `attend` takes them: (B, M, V) to (B, M, V + 1).

    Args:
        values: of M keys.
        weight: how often each key counts, such as the number of keys that it stands for.
    """
    return F.pad(values, (0, 1), value=1.0).mul_(weight)


def attend(queries: torch.Tensor, blocks: Iterable[Block], *, int8: bool = False) -> torch.Tensor:
    """Softmax attention over all keys of `blocks`.

    Args:
        queries: (B or 1, N, C), scaled already.
        blocks: keys (B, M, C) and values (B, M, V + 1) from `weighted`, in parts of about `ROWS` keys.
        int8: on a CPU, compares queries and keys in 8-bit integers, keys less their mean, which changes no weight
            (SageAttention, arXiv 2410.02367); queries, keys and values are then float32.

    Returns:
        (B, N, V) float32.
    """
    if queries.device.type != "cpu":
        return attend_plainly(queries, blocks)
    compare = _int8_scores if int8 else _scores
    parts = [[compare(part) for part in torch.split(each, ROWS)] for each in queries]
    members: list[_Member] = []
    for keys, values in blocks:
        members = members or [_Member(parts[i % len(parts)], int8=int8) for i in range(len(keys))]
        for member, its_keys, its_values in zip(members, keys, values, strict=True):
            member.add(its_keys, its_values)
    return torch.cat([member.result() for member in members]).view(len(members), queries.shape[1], -1)


def attend_plainly(queries: torch.Tensor, blocks: Iterable[Block]) -> torch.Tensor:
    """The eager twin of `attend`: one call of torch's attention; values are padded to the keys' width where it is less.

    Flash attention on CUDA wants equal widths.
    """
    keys, values = (torch.cat(parts, dim=1) for parts in zip(*blocks, strict=True))
    width = max(values.shape[-1], keys.shape[-1])
    summed = F.scaled_dot_product_attention(
        queries.expand(len(keys), -1, -1)[:, None], keys[:, None], _widened(values, width)[:, None], scale=1.0
    )[:, 0, :, : values.shape[-1]].float()
    return summed[..., :-1] / summed[..., -1:]


def blocks_of(keys: torch.Tensor, values: torch.Tensor) -> Iterator[Block]:
    """Keys and values that are there already, in blocks."""
    return zip(torch.split(keys, ROWS, dim=1), torch.split(values, ROWS, dim=1), strict=True)


Scores = Callable[[Any], torch.Tensor]  # of keys (M, C), quantized or not, with N queries: (M, N)


def _scores(queries: torch.Tensor) -> Scores:
    turned = queries.mT
    return lambda keys: torch.matmul(keys, turned)


def _int8_scores(queries: torch.Tensor) -> Scores:
    return QuantizedLinear(queries, None).multiply


class _Member:
    """One of a batch."""

    def __init__(self, parts: list[Scores], *, int8: bool) -> None:
        self._rows = [_Rows(scores) for scores in parts]
        self._int8 = int8
        self._mean: torch.Tensor | None = None

    def add(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Args: keys: (M, C). values: (M, V + 1)."""
        compared, turned = self._smoothed(keys) if self._int8 else keys, values.mT
        for rows in self._rows:
            rows.add(compared, turned)

    def result(self) -> torch.Tensor:
        """(N, V)."""
        return torch.cat([rows.result() for rows in self._rows])

    def _smoothed(self, keys: torch.Tensor) -> Quantized:
        """Keys less the mean of the first of them."""
        self._mean = keys.mean(dim=0) if self._mean is None else self._mean
        smooth = keys - self._mean
        return quantized(smooth, room=smooth)


class _Rows:
    """The attention of some queries: sums of weighted values, and the score that counts as 0 in them.

    That is the greatest of the first block. Another is looked for only where a later block's weights are too great for
    the format.
    """

    def __init__(self, scores: Scores) -> None:
        self._scores = scores
        self._top: torch.Tensor | None = None
        self._sums = torch.empty(0)

    def add(self, keys: Any, values: torch.Tensor) -> None:
        """Args: keys: (M, C). values: (V + 1, M)."""
        scores = self._scores(keys)  # M, N
        if self._top is not None:
            sums = torch.matmul(values, scores.sub_(self._top).exp_())  # V + 1, N
            if float(sums[-1].amax()) < _MUCH[sums.dtype]:
                self._sums += sums
                return
            scores = self._scores(keys)
        top = scores.amax(dim=0, keepdim=True)
        if self._top is not None:
            torch.maximum(top, self._top, out=top)
            self._sums.mul_((self._top - top).float().exp_())
        sums = torch.matmul(values, scores.sub_(top).exp_()).float()
        self._sums = sums if self._top is None else self._sums.add_(sums)
        self._top = top

    def result(self) -> torch.Tensor:
        return (self._sums[:-1] / self._sums[-1:]).mT


def _widened(values: torch.Tensor, width: int) -> torch.Tensor:
    return F.pad(values, (0, width - values.shape[-1])) if values.shape[-1] < width else values
