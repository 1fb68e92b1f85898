"""The network in training: `nano` as its config describes it, its pretrained trunk, and what only training has."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from trackmatte.tracker.trunk import LITE0, ConvNorm, EfficientNetLite

CONFIG = Path(__file__).parent.parent / "trackmatte" / "tracker" / "configs" / "nano.yaml"
MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
TRUNK_MEAN, TRUNK_STD = 127 / 255, 128 / 255  # what the pretrained trunk was trained with


def build(config: Path = CONFIG, **overrides: object) -> SAM2Base:
    """The model with fresh weights, in eval mode (batch norm is never updated). `overrides` set keys of `model:`."""
    settings = OmegaConf.load(config).model
    for key, value in overrides.items():
        OmegaConf.update(settings, key, value, force_add=True)
    return instantiate(settings, _recursive_=True).eval()


def set_size(model: SAM2Base, size: int) -> None:
    """Let the model take pictures of `size` pixels; all its weights serve any multiple of 32."""
    cells = size // model.backbone_stride
    model.image_size, model.sam_image_embedding_size = size, cells
    encoder = model.sam_prompt_encoder
    encoder.input_image_size, encoder.image_embedding_size = (size, size), (cells, cells)
    encoder.mask_input_size = (4 * cells, 4 * cells)


class TrunkPart(nn.Module):
    """Some of the trunk's stages, one after another: the part that stays as it is, or the part that is trained."""

    def __init__(self, trunk: EfficientNetLite, first: int, last: int):
        """Args: first, last: the stages from `first` up to, not including, `last`; the stem comes before stage 0."""
        super().__init__()
        self.stem = trunk.stem if first == 0 else None
        self.stages = trunk.stages[first:last]
        self.features = trunk.features[first:last]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the last stage makes of x, and the levels on the way (B, C, ., .), high to low resolution."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = x if self.stem is None else convolve(self.stem, x)
        levels = []
        for stage, feature in zip(self.stages, self.features, strict=True):
            for block in stage:
                wide = convolve(block.expand, x) if isinstance(block.expand, ConvNorm) else x
                y = convolve(block.project, convolve(block.depthwise, wide))
                x = x + y if block.residual else y
            if feature:
                levels.append(x)
        return x, levels


def convolve(layer: ConvNorm, x: Tensor) -> Tensor:
    """What the layer makes of x, its batch norm folded into the convolution: half the passes over the maps."""
    conv, norm = layer.conv, layer.norm
    x = F.pad(x, layer.pad) if layer.pad else x
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = (conv.weight * scale.view(-1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
    bias = norm.bias - norm.running_mean * scale
    x = F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)
    return x if layer.linear else F.relu6(x)


def load_trunk(model: SAM2Base, path: Path) -> None:
    """Put the pretrained EfficientNet-Lite0 in, with its own input normalisation folded into the stem."""
    weights = torch.load(path, map_location="cpu", weights_only=True)
    state = {new: weights[old] for old in weights if (new := trunk_key(old)) is not None}
    scale = STD / TRUNK_STD
    shift = ((MEAN - TRUNK_MEAN) / TRUNK_STD).view(1, 3, 1, 1)
    stem = state["stem.conv.weight"]
    state["stem.norm.running_mean"] = state["stem.norm.running_mean"] - (stem * shift).sum((1, 2, 3))
    state["stem.conv.weight"] = stem * scale.view(1, 3, 1, 1)
    model.image_encoder.trunk.load_state_dict(state)


@torch.no_grad()
def prime_matching(model: SAM2Base) -> None:
    """Fresh weights with which memory attention already compares contents, and the decoder's tokens places.

    A memory starts as an orthonormal projection of the picture's features (plus the mask's embedding), and the keys of
    the cross-attention undo that projection, so that a token first attends to memories that look like it. In the
    decoder queries and keys are projected alike, so that a click first attends to the picture where it is.
    """
    encoder = model.memory_encoder
    nn.init.eye_(encoder.pix_feat_proj.weight[:, :, 0, 0])
    nn.init.zeros_(encoder.pix_feat_proj.bias)
    projection = nn.init.orthogonal_(torch.empty(encoder.out_proj.weight.shape[:2]))
    encoder.out_proj.weight.copy_(projection[:, :, None, None])
    nn.init.zeros_(encoder.out_proj.bias)
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        nn.init.eye_(attention.q_proj.weight)
        attention.k_proj.weight.copy_(projection.T)
    decoder = model.sam_mask_decoder.transformer
    crossings = [decoder.final_attn_token_to_image]
    for layer in decoder.layers:
        crossings += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in crossings:
        nn.init.orthogonal_(attention.q_proj.weight)
        attention.k_proj.weight.copy_(attention.q_proj.weight)


def trunk_key(key: str) -> str | None:
    """A key of `efficientnet_lite_pytorch` in the names of `trackmatte.tracker.trunk`; None for the classifier's."""
    if key.startswith(("_conv_head", "_bn1", "_fc")):
        return None
    if not key.startswith("_blocks"):
        return key.replace("_conv_stem", "stem.conv").replace("_bn0", "stem.norm")
    match = re.fullmatch(r"_blocks\.(\d+)\._(\w+?)(_conv)?\.(\w+)", key)
    assert match is not None, key
    block, layer, leaf = int(match[1]), match[2], match[4]
    stage = 0
    while block >= LITE0[stage].repeats:
        block -= LITE0[stage].repeats
        stage += 1
    names = {"expand": "expand.conv", "depthwise": "depthwise.conv", "project": "project.conv"}
    names |= {"bn0": "expand.norm", "bn1": "depthwise.norm", "bn2": "project.norm"}
    return f"stages.{stage}.{block}.{names[layer]}.{leaf}"


class LevelNorm(nn.Module):
    """Centres and scales each channel of the trunk's levels, which the neck's 1x1 convolutions then see.

    The trunk's raw channels have means and deviations of about 10, and differ: left so, they drown the decoder's
    position encodings, and one optimizer step moves the neck's outputs by more than their own size. `fold` puts the
    statistics into the neck, so that the exported model has no such layer.
    """

    def __init__(self, channels: list[int]):
        super().__init__()
        for level, count in enumerate(channels):
            self.register_buffer(f"mean{level}", torch.zeros(count))
            self.register_buffer(f"scale{level}", torch.ones(count))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels (B, C, ., .), high to low resolution."""
        return [(x - self.at("mean", i)) * self.at("scale", i) for i, x in enumerate(levels)]

    def at(self, name: str, level: int) -> Tensor:
        return self.get_buffer(f"{name}{level}").view(1, -1, 1, 1)

    def measure(self, levels: list[Tensor]) -> None:
        for i, x in enumerate(levels):
            self.get_buffer(f"mean{i}").copy_(x.mean((0, 2, 3)))
            self.get_buffer(f"scale{i}").copy_(1 / (x.std((0, 2, 3)) + 1e-3))

    def unfold(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state dict for normalised levels that `fold` made this one of."""
        state, count = dict(state), len(list(self.buffers())) // 2
        for i in range(count):
            key = f"image_encoder.neck.convs.{count - 1 - i}.conv"
            weight = state[f"{key}.weight"]
            state[f"{key}.bias"] = state[f"{key}.bias"] + (weight * self.at("mean", i)).sum((1, 2, 3))
            state[f"{key}.weight"] = weight / self.at("scale", i)
        return state

    def fold(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state dict for raw levels out of one for normalised levels. The neck's convolutions run low to high."""
        state, count = dict(state), len(list(self.buffers())) // 2
        for i in range(count):
            key = f"image_encoder.neck.convs.{count - 1 - i}.conv"
            weight = state[f"{key}.weight"] * self.at("scale", i)
            state[f"{key}.bias"] = state[f"{key}.bias"] - (weight * self.at("mean", i)).sum((1, 2, 3))
            state[f"{key}.weight"] = weight
        return state


class AuxiliaryHead(nn.Module):
    """Predicts the mask straight from the memory-conditioned features: (N, C, h, w) to logits (N, 4h, 4w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.widen = nn.Conv2d(channels, 64, 3, padding=1)
        self.predict = nn.Conv2d(64, 16, 1)

    def forward(self, features: Tensor) -> Tensor:
        logits = self.predict(F.gelu(self.widen(features)))
        return F.pixel_shuffle(logits, 4)[:, 0]


class AuxiliaryHeads(nn.Module):
    """Training's own heads, on the memory-conditioned features and on the decoder's picture tokens.

    The decoder's masks are products of two learnt factors, which start slowly; a head on its picture tokens teaches
    them what a prompt means at once (from boxes: 0.34 IoU after 160 updates, 0.12 without).
    """

    def __init__(self, model: SAM2Base):
        super().__init__()
        self.memory = AuxiliaryHead(model.hidden_dim)
        self.decoder = AuxiliaryHead(model.hidden_dim)
        self.tokens: Tensor | None = None
        model.sam_mask_decoder.transformer.register_forward_hook(self.keep)

    def keep(self, module: nn.Module, inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
        self.tokens = outputs[1]

    def forward(self, conditioned: Tensor | None) -> list[Tensor]:
        """Logits (N, 4h, 4w) from the last decoder run's tokens, and from the features where they know the object."""
        assert self.tokens is not None
        side = int(self.tokens.shape[1] ** 0.5)
        logits = [self.decoder(self.tokens.transpose(1, 2).unflatten(2, (side, side)))]
        return logits if conditioned is None else [*logits, self.memory(conditioned)]


def normalise(frames: Tensor) -> Tensor:
    """uint8 RGB (..., S, S, 3) to the network's float input (..., 3, S, S)."""
    x = frames.movedim(-1, -3).float() / 255
    return (x - MEAN.to(x.device).view(3, 1, 1)) / STD.to(x.device).view(3, 1, 1)
