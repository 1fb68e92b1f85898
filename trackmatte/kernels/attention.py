"""Attention of one head whose scores never leave the cache, with values narrower than keys.

A block of keys is compared with a block of queries, turned into weights and applied to the values before the next; the
greatest score so far is kept for each query, as in FlashAttention (arXiv 2205.14135). Two things make it cheaper than
`scaled_dot_product_attention` in SAM 2's memory attention. Weights sum to 1, so that a projection of the values may as
well follow the attention: the values are then the memory itself, 64 channels for 256. And keys are made block by block,
where they are used, so that they are neither kept in memory nor read from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F

ROWS = 1024  # queries, and keys, of a block: scores of 4 MB in float32
Block = tuple[torch.Tensor, torch.Tensor]


def weighted(values: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
    """Values as `attend` takes them: (B, M, V) to (B, M, V + 1).

    Args:
        values: of M keys.
        weight: how often each key counts, such as the number of keys that it stands for.
    """
    return F.pad(values, (0, 1), value=1.0).mul_(weight)


def attend(queries: torch.Tensor, blocks: Iterable[Block]) -> torch.Tensor:
    """Softmax attention over all keys of `blocks`.

    Args:
        queries: (B or 1, N, C), scaled already.
        blocks: keys (B, M, C) and values (B, M, V + 1) from `weighted`, in parts of about `ROWS` keys.

    Returns:
        (B, N, V) float32.
    """
    if queries.device.type != "cpu":
        return attend_plainly(queries, blocks)
    rows = [_Rows(part) for part in torch.split(queries, ROWS, dim=1)]
    for keys, values in blocks:
        for part in rows:
            part.add(keys, values)
    return torch.cat([part.result() for part in rows], dim=1)


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


class _Rows:
    """The attention of some queries: sums of weighted values, and the score that counts as 0 in them."""

    def __init__(self, queries: torch.Tensor) -> None:
        self._queries = queries.mT
        self._top: torch.Tensor | None = None
        self._sums = torch.empty(0)

    def add(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        scores = torch.matmul(keys, self._queries)  # B, M, N
        top = scores.amax(dim=1, keepdim=True)
        if self._top is None:
            self._sums = torch.matmul(values.mT, scores.sub_(top).exp_()).float()  # B, V + 1, N
        else:
            torch.maximum(top, self._top, out=top)
            self._sums.mul_((self._top - top).float().exp_())
            self._sums += torch.matmul(values.mT, scores.sub_(top).exp_())
        self._top = top

    def result(self) -> torch.Tensor:
        return (self._sums[:, :-1] / self._sums[:, -1:]).mT


def _widened(values: torch.Tensor, width: int) -> torch.Tensor:
    return F.pad(values, (0, width - values.shape[-1])) if values.shape[-1] < width else values
