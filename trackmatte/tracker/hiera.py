"""The image encoder's trunk: the twin of `sam2`'s Hiera, in strips whose temporaries stay in the cache.

A window looks at nothing beside itself, so that norm, attention and linear layers of a strip of windows can be done
before the next strip is read; only a block with attention over the whole map needs all of its keys first. Maps are kept
from frame to frame: memory that the C library maps anew at every frame took more time than a third of the products.

Shapes: H, W of the map before the block, h, w after it (half of it where the block starts a stage), C and c channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleAttention, MultiScaleBlock, do_pool
from sam2.modeling.backbones.utils import window_partition, window_unpartition
from torch import nn

from trackmatte.kernels.linear import feedforward, lean, settle
from trackmatte.kernels.native.attention import attend
from trackmatte.kernels.native.build import Engine
from trackmatte.kernels.native.window import WindowAttention
from trackmatte.kernels.precision import PLAIN, Products, half

STRIP = 2**18  # numbers in a strip of a map, about: 1 MB in float32
NATIVE_STRIP = 2**20  # of our own kernels, which keep less in the cache at a time
FEW = 32  # queries, below which torch's attention is faster than our own


class SteadyHiera(nn.Module):
    """Stands in for `sam2`'s Hiera: the position encoding made once; on a CPU its blocks in strips."""

    def __init__(self, eager: Hiera, size: int, dtype: torch.dtype, *, products: Products = PLAIN) -> None:
        """Args: eager: its parts are taken. size: of the picture. dtype, products: see `lean`."""
        super().__init__()
        self._embed = eager.patch_embed
        self._ends: list[int] = eager.stage_ends
        self._dtype = dtype
        self._settled = not products.int8
        with torch.inference_mode():
            self._position = eager._get_pos_embed((size // 4, size // 4)).contiguous()
        self._blocks, self._map = eager.blocks, None
        if self._position.device.type == "cpu":
            self._map = torch.empty_like(self._position)
            self._blocks = nn.ModuleList(_steady(eager.blocks, size // 4, dtype, products))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(1, 3, S, S) to four maps (1, C, h, w) float32, from high to low resolution, overwritten by the next call."""
        outputs = []
        with half(x.device, self._dtype):
            x = self._embed(x)
            x = (x + self._position).contiguous() if self._map is None else torch.add(x, self._position, out=self._map)
            for i, block in enumerate(self._blocks):
                x = block(x)
                if i in self._ends:
                    outputs.append(x.permute(0, 3, 1, 2).float())
        if not self._settled:
            settle(self, "image encoder")
            self._settled = True
        return outputs


class SteadyBlock(nn.Module):
    """Stands in for a block of `sam2`'s Hiera, on a CPU. It overwrites its input unless it starts a stage."""

    def __init__(self, eager: MultiScaleBlock, side: int, dtype: torch.dtype, *, products: Products) -> None:
        """Args: eager: its parts are taken. side: H and W. dtype, products: see `lean`."""
        super().__init__()
        self._norm = eager.norm1
        self._window = int(eager.window_size)
        self.stride = int(eager.q_stride[0]) if eager.q_stride else 1
        self._attention = _Attention(eager.attn, dtype, products)
        first, second = eager.mlp.layers
        self._feedforward = feedforward(first, second, "gelu", dtype, products=products, norm=eager.norm2)
        self._map = _new_map(eager, side)
        self._shortcut = None if self._map is None else lean(eager.proj, dtype, products=products)
        step, strip = self._window or 1, NATIVE_STRIP if products.native else STRIP
        self._rows = step * max(1, round(strip / (side * eager.dim * step)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, H, W, C) to (1, h, w, c), float32."""
        out = x if self._map is None else self._map
        places = torch.split(out, self._rows // self.stride, dim=1)
        for (shortcut, attended), place in zip(self._attended(x), places, strict=True):
            torch.add(shortcut, attended, out=place)
            self._feedforward(place, place)
        return out

    def _attended(self, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Strip by strip what the attention finds, and what that is added to."""
        if not self._window:
            found = self._attention(self._norm(x))
            yield from zip(torch.split(x, self._rows, dim=1), torch.split(found, self._rows, dim=1), strict=True)
            return
        for strip in torch.split(x, self._rows, dim=1):
            normed = self._norm(strip)
            windows, (height, width) = window_partition(normed, self._window)
            shortcut = strip if self._shortcut is None else do_pool(self._shortcut(normed), _Pool())
            padded, stride = (height // self.stride, width // self.stride), self.stride
            yield (
                shortcut,
                window_unpartition(self._attention(windows), self._window // stride, padded, shortcut.shape[1:3]),
            )


class TiledBlock(nn.Module):
    """The same by tiles, whose kernels keep what they make in the cache themselves."""

    def __init__(self, eager: MultiScaleBlock, side: int, engine: Engine) -> None:
        """Args: see `SteadyBlock`. engine: what multiplies."""
        super().__init__()
        self.stride = int(eager.q_stride[0]) if eager.q_stride else 1
        self._map = _new_map(eager, side)
        window, attention, products = int(eager.window_size), eager.attn, Products(native=engine)
        if window:
            self._attention: nn.Module = WindowAttention(
                eager.norm1,
                attention.qkv,
                attention.proj,
                None if self._map is None else eager.proj,
                heads=attention.num_heads,
                side=window,
                engine=engine,
            )
        else:
            self._attention = _Everywhere(eager.norm1, _Attention(attention, torch.float32, products))
        first, second = eager.mlp.layers
        self._feedforward = feedforward(first, second, "gelu", torch.float32, products=products, norm=eager.norm2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SteadyBlock.forward`."""
        out = self._attention(x, x if self._map is None else self._map)
        return torch.as_tensor(self._feedforward(out, out))


def _new_map(eager: MultiScaleBlock, side: int) -> torch.Tensor | None:
    """(1, h, w, c), kept, for what a block that starts a stage makes; others overwrite their input."""
    starts, half_side = eager.dim != eager.dim_out, side // 2
    assert starts == bool(eager.q_stride)
    assert not starts or (int(eager.q_stride[0]) == 2 and eager.window_size)
    return torch.empty(1, half_side, half_side, eager.dim_out) if starts else None


class _Everywhere(nn.Module):
    """Adds what tokens find in the whole map to them."""

    def __init__(self, norm: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self._norm, self._attention = norm, attention

    def forward(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Args: x: (1, H, W, C). out: `x`."""
        return out.add_(self._attention(self._norm(x)))


class _Attention(nn.Module):
    """Attention within windows, or within a whole map."""

    def __init__(self, eager: MultiScaleAttention, dtype: torch.dtype, products: Products) -> None:
        super().__init__()
        self._heads = eager.num_heads
        self._pool = _Pool() if eager.q_pool else None
        self._qkv, self._out = (lean(layer, dtype, products=products) for layer in (eager.qkv, eager.proj))
        self._native = products.native

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) to (B, h, w, c)."""
        batch, height, width, _ = x.shape
        made = self._qkv(x).view(batch, height * width, 3, self._heads, -1)
        queries, keys, values = made.unbind(2)
        if self._pool is not None:
            queries = do_pool(queries.reshape(batch, height, width, -1), self._pool)
            height, width = queries.shape[1:3]
            queries = queries.reshape(batch, height * width, self._heads, -1)
        if self._native and queries.shape[1] >= FEW:
            found = attend(queries, keys, values, queries.shape[-1] ** -0.5, engine=self._native)
        else:
            found = F.scaled_dot_product_attention(*(each.transpose(1, 2) for each in (queries, keys, values)))
            found = found.transpose(1, 2)
        return torch.as_tensor(self._out(found.reshape(batch, height, width, -1)))


class _Pool(nn.Module):
    """The greatest of 2x2 tokens, as `nn.MaxPool2d` finds it in more time where channels are last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C, h, w)."""
        rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def _steady(
    blocks: nn.ModuleList, side: int, dtype: torch.dtype, products: Products
) -> Iterator[SteadyBlock | TiledBlock]:
    """The twins of all blocks. Args: side: of the first one's map."""
    for block in blocks:
        if products.tiles:
            twin: SteadyBlock | TiledBlock = TiledBlock(block, side, products.tiles)
        else:
            twin = SteadyBlock(block, side, dtype, products=products)
        side //= twin.stride
        yield twin
