"""Which modules of `sam2` have twins, and putting these in their places, by composition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.sam2_base import SAM2Base
from torch import nn

from trackmatte.kernels.compile import compiled
from trackmatte.kernels.convolution import FusedConvolution, LeanConvolution, absorb_padding, join_pointwise
from trackmatte.kernels.positions import StoredPosition
from trackmatte.kernels.precision import PLAIN, Products
from trackmatte.kernels.rounding import OneByOne, Planar
from trackmatte.tracker.attention import EagerMemoryAttention, MemoryAttention
from trackmatte.tracker.hiera import SteadyHiera
from trackmatte.tracker.mask_decoder import EagerMaskDecoder, SteadyMaskDecoder
from trackmatte.tracker.memory_encoder import EagerMemoryEncoder, SteadyMemoryEncoder
from trackmatte.tracker.trunk import ConvNorm


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """How the network runs.

    Attributes:
        dtype: what products are computed in.
        careful: rounds as the reference does, and a batch of objects as each alone; else equal but for rounding.
        pool: memory keeps the means of cells of pool * pool tokens; 1 keeps every token, as SAM 2 does.
        products: what multiplies, on a CPU; dtype is float32 if not plain.
        compile: compiles the image encoder by torch, which on a CPU gains nothing over the twins, or fails.
    """

    dtype: torch.dtype = torch.float32
    careful: bool = False
    pool: int = 1
    products: Products = PLAIN
    compile: bool = False


def use_twins(modules: SAM2Base, options: NetworkOptions) -> None:
    """Replaces hot modules, in place; they hold their weights and are on their device."""
    with torch.inference_mode():
        where = modules.sam_prompt_encoder.get_dense_pe()
    side = modules.image_size // modules.backbone_stride
    encoder, attention = modules.image_encoder, modules.memory_attention
    for owner in (encoder.neck, modules.memory_encoder):
        owner.position_encoding = StoredPosition(owner.position_encoding)
    if options.careful and options.pool == 1:
        modules.memory_attention = EagerMemoryAttention(attention)
    else:
        modules.memory_attention = MemoryAttention(
            attention, side, pool=options.pool, dtype=options.dtype, products=options.products
        )
    if options.careful or modules.device.type != "cpu":
        modules.memory_encoder = EagerMemoryEncoder(modules.memory_encoder)
    else:
        enough = options.products.int8 or options.products.native == "float16 tiles"  # what it rounds is remembered
        products = options.products if enough else PLAIN
        modules.memory_encoder = SteadyMemoryEncoder(modules.memory_encoder, products=products)
    if options.careful:
        _replace_convolutions(encoder.trunk, LeanConvolution)
        _round_as_alone(modules)
        modules.sam_mask_decoder = EagerMaskDecoder(modules.sam_mask_decoder, where)
        return
    _join_fine_levels(modules)
    decoder = SteadyMaskDecoder if modules.device.type == "cpu" else EagerMaskDecoder
    modules.sam_mask_decoder = decoder(modules.sam_mask_decoder, where)
    _replace_convolutions(encoder.trunk, FusedConvolution)
    if isinstance(encoder.trunk, Hiera):
        encoder.trunk = SteadyHiera(encoder.trunk, modules.image_size, options.dtype, products=options.products)


def compile_encoder(modules: SAM2Base) -> None:
    """Compiles the image encoder, where this machine can."""
    example = torch.zeros(1, 3, modules.image_size, modules.image_size, device=modules.device)
    with torch.inference_mode():
        modules.image_encoder = compiled(modules.image_encoder, example)


def _join_fine_levels(modules: SAM2Base) -> None:
    """Makes one convolution of the neck's and the mask decoder's, for the two finest levels, which only it reads."""
    neck, decoder = modules.image_encoder.neck, modules.sam_mask_decoder
    assert not {0, 1} & set(neck.fpn_top_down_levels)
    for level, name in enumerate(("conv_s0", "conv_s1")):
        lateral = neck.convs[len(neck.convs) - 1 - level]
        lateral.conv = join_pointwise(lateral.conv, getattr(decoder, name))
        setattr(decoder, name, nn.Identity())


def _replace_convolutions(module: nn.Module, twin: type[LeanConvolution] | type[FusedConvolution]) -> None:
    """Puts twins in the places of nano's convolutions; a Hiera has none of them."""
    for name, child in list(module.named_children()):
        if isinstance(child, ConvNorm):
            convolution = absorb_padding(child.conv, child.pad) if child.pad else child.conv
            setattr(module, name, twin(convolution, child.norm, clamp=not child.linear))
        else:
            _replace_convolutions(child, twin)


def _round_as_alone(modules: SAM2Base) -> None:
    """Puts twins in the places of the modules whose rounding depends on the batch."""
    decoder = modules.sam_mask_decoder
    for layer in decoder.transformer.layers:
        layer.mlp = OneByOne(layer.mlp)
    for i, hypernetwork in enumerate(decoder.output_hypernetworks_mlps):
        decoder.output_hypernetworks_mlps[i] = OneByOne(hypernetwork)
    decoder.output_upscaling[0] = Planar(decoder.output_upscaling[0])
    decoder.iou_prediction_head = OneByOne(decoder.iou_prediction_head)
    decoder.pred_obj_score_head = OneByOne(decoder.pred_obj_score_head)
    modules.obj_ptr_proj = OneByOne(modules.obj_ptr_proj)
