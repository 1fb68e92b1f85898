"""The memory encoder: the twin of `sam2.modeling.memory_encoder.MemoryEncoder`, for many objects.

The frame's features are projected once for all objects. Maps keep their channels last from end to end: norms are then
one pass and linear layers need no copies.

Shapes: O objects, S side of the network's square, h = w = S / 16, C the model's width, C_map that of a memory map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sam2.modeling.memory_encoder import CXBlock, MaskDownSampler
from sam2.modeling.memory_encoder import MemoryEncoder as EagerEncoder
from torch import nn

from trackmatte.kernels.convolution import PackedConvolution
from trackmatte.kernels.linear import feedforward, lean, settle
from trackmatte.kernels.norm import ChannelNorm
from trackmatte.kernels.precision import PLAIN, Products

PIECE = 1024**2  # pixels of masks that are encoded together: temporaries of more take longer than they save


class EagerMemoryEncoder(nn.Module):
    """The eager twin: `sam2`'s own module behind the same call."""

    def __init__(self, eager: EagerEncoder) -> None:
        super().__init__()
        self._eager = eager
        self.position_encoding = eager.position_encoding

    def forward(self, top: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Fuses what a frame looks like with where its objects are.

        Args:
            top: (1, C, h, w), the frame's features.
            masks: (O, 1, S, S), as the model's scale and bias make them of probabilities.

        Returns:
            (O, C_map, h, w).
        """
        pieces = torch.split(masks, max(1, PIECE // masks.shape[-1] ** 2))
        return torch.cat([self._eager(top, piece, skip_mask_sigmoid=True)["vision_features"] for piece in pieces])


class SteadyMemoryEncoder(nn.Module):
    """Stands in for `sam2`'s module on a CPU, with its weights."""

    def __init__(self, eager: EagerEncoder, *, products: Products = PLAIN) -> None:
        """Args: eager: the module. products: what multiplies; in 8 bits only in the fuser."""
        super().__init__()
        self.position_encoding = eager.position_encoding
        self._settled = not products.int8
        self._downsample = _Downsample(eager.mask_downsampler, products)
        self._project = _as_linear(eager.pix_feat_proj, products)
        assert isinstance(eager.fuser.proj, nn.Identity)
        self._fuse = nn.Sequential(*(_Fuse(block, products) for block in eager.fuser.layers))
        self._out = _as_linear(eager.out_proj, products) if isinstance(eager.out_proj, nn.Conv2d) else nn.Identity()

    def forward(self, top: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """See `EagerMemoryEncoder.forward`; float32."""
        looks = self._project(top.permute(0, 2, 3, 1).contiguous())
        placed = (self._downsample(mask) for mask in torch.split(masks, 1))
        encoded = [self._out(self._fuse(where.add_(looks))) for where in placed]
        if not self._settled:
            settle(self, "memory encoder")
            self._settled = True
        return torch.cat(encoded).permute(0, 3, 1, 2)


class _Downsample(nn.Module):
    """Masks to maps of the model's width, by convolutions with a norm and GELU after each."""

    def __init__(self, eager: MaskDownSampler, products: Products) -> None:
        super().__init__()
        *steps, last = eager.encoder
        self._convolutions = nn.ModuleList(PackedConvolution(each) for each in steps[::3])
        self._norms = nn.ModuleList(ChannelNorm(each) for each in steps[1::3])
        assert all(isinstance(each, nn.GELU) for each in steps[2::3])
        self._last = _as_linear(last, products)

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        """(O, 1, S, S) to (O, h, w, C) float32."""
        x = masks
        for convolution, norm in zip(self._convolutions, self._norms, strict=True):
            x = F.gelu(norm(convolution(x.contiguous(memory_format=torch.channels_last))))
        return torch.as_tensor(self._last(x.permute(0, 2, 3, 1)))


class _Fuse(nn.Module):
    """A block of ConvNeXt."""

    def __init__(self, eager: CXBlock, products: Products) -> None:
        super().__init__()
        self._convolution = PackedConvolution(eager.dwconv)
        second = eager.pwconv2 if eager.gamma is None else _scaled(eager.pwconv2, eager.gamma)
        self._feedforward = feedforward(
            eager.pwconv1, second, "gelu", torch.float32, products=products, norm=eager.norm
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(O, h, w, C) to the same, in place."""
        near = self._convolution(x.permute(0, 3, 1, 2))
        return torch.as_tensor(self._feedforward(near.permute(0, 2, 3, 1), x))


@torch.no_grad()
def _as_linear(pointwise: nn.Conv2d, products: Products) -> nn.Module:
    """The linear layer that does at each token what a 1x1 convolution does; not in 8 bits."""
    assert pointwise.bias is not None
    layer = nn.Linear(pointwise.in_channels, pointwise.out_channels, device=pointwise.weight.device)
    layer.weight.copy_(pointwise.weight[:, :, 0, 0])
    layer.bias.copy_(pointwise.bias)
    return lean(layer, torch.float32, products=Products(native=products.native))


@torch.no_grad()
def _scaled(layer: nn.Linear, scale: torch.Tensor) -> nn.Linear:
    """A layer whose results are scaled: (C',)."""
    made = nn.Linear(layer.in_features, layer.out_features, device=layer.weight.device)
    made.weight.copy_(layer.weight * scale[:, None])
    made.bias.copy_(layer.bias * scale)
    return made
