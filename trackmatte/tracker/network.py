"""The network as five verbs without state, over the modules of the `sam2` package.

Shapes: O objects, S side of the network's square, h = w = S / 16, C the model's width (256 in SAM 2), C_map the
width of a memory map (64). Logits are (O, 1, 4h, 4w): positive is object.

The arithmetic is that of `sam2.modeling.sam2_base.SAM2Base` (SAM 2, arXiv 2408.00714; Meta, Apache-2.0) as its
video predictor runs it, in batches over objects and without what its result does not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import get_1d_sine_pe

from trackmatte.kernels.transfer import upload
from trackmatte.tracker.memory import Memories, MemorySize
from trackmatte.tracker.twins import NetworkOptions, compile_encoder, use_twins

_CONDITIONING = 6  # conditioning frames that are read at a time where the network sets no limit
NO_OBJECT = -1024.0  # logit of every pixel of an absent object
_MASK_SCALE, _MASK_BIAS = 20.0, -10.0  # from a given mask's 0 and 1 to logits
_CLAMP = 32.0  # of an earlier mask's logits, when they go back in as a prompt


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """What the image encoder makes of one frame, for all its objects.

    Attributes:
        top: (1, C, h, w).
        position: (1, h * w, C) the position encoding of `top`.
        fine: finer levels as the mask decoder takes them.
    """

    top: torch.Tensor
    position: torch.Tensor
    fine: tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class PointPrompts:
    """Clicks and boxes of O objects, the same number P for each.

    Attributes:
        coordinates: (O, P, 2) float32, x and y in pixels of the network's square.
        labels: (O, P) int32: 0 a click beside the object, 1 on it, 2 a box's top left corner, 3 its bottom right.
    """

    coordinates: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Masks of O objects.

    Attributes:
        logits: (O, 1, 4h, 4w) float32; all NO_OBJECT where the object is absent.
        scores: (O, 1) logits that the object is visible; absent at 0 and below.
        pointers: (O, C), what the memory keeps of the object's looks.
    """

    logits: torch.Tensor
    scores: torch.Tensor
    pointers: torch.Tensor

    def __getitem__(self, index: slice | list[int]) -> Decoded:
        """The same of some objects."""
        return Decoded(self.logits[index], self.scores[index], self.pointers[index])

    @staticmethod
    def join(parts: list[Decoded]) -> Decoded:
        """Several groups of objects as one."""
        if len(parts) == 1:
            return parts[0]
        return Decoded(
            torch.cat([part.logits for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.pointers for part in parts]),
        )


class Network:
    """Five verbs: `encode_image`, `attend_memory`, `decode_masks`, `adopt_masks`, `encode_memory`."""

    def __init__(self, modules: SAM2Base, options: NetworkOptions) -> None:
        """Takes over modules that hold their weights already, and replaces hot ones by their twins.

        Args:
            modules: on their device, in eval mode; changed in place.
            options: how to run them.
        """
        self._modules = modules
        self.image_size: int = modules.image_size
        self.device: torch.device = modules.device
        self.parameters = sum(parameter.numel() for parameter in modules.parameters())
        side = self.image_size // modules.backbone_stride
        self._enlarge = _enlarged_in_threes if options.careful else _enlarged
        self._pool = options.pool
        self._layout = torch.contiguous_format if options.careful else torch.channels_last
        with torch.inference_mode():
            self._map_position = self._full_map_position(side)
        self._times: dict[tuple[int, ...], torch.Tensor] = {}
        use_twins(modules, options)
        if options.compile:
            compile_encoder(modules)
        self.memory_size = MemorySize(
            maps=modules.num_maskmem,
            pointers=modules.max_obj_ptrs_in_encoder,
            tokens=(side // options.pool) ** 2,
            map_width=modules.mem_dim,
            pointer_width=modules.hidden_dim,
            stride=modules.memory_temporal_stride_for_eval,
            conditioning=most if (most := modules.max_cond_frames_in_attn) > 0 else _CONDITIONING,
            past_pointers=modules.only_obj_ptrs_in_the_past_for_eval,
            signed_ages=modules.use_signed_tpos_enc_to_obj_ptrs,
        )

    def encode_image(self, pixels: torch.Tensor) -> ImageFeatures:
        """Looks at one frame.

        Args:
            pixels: (1, 3, S, S) float32, normalized.
        """
        modules = self._modules
        encoded = modules.image_encoder(pixels.contiguous(memory_format=self._layout))
        finest, fine, top = encoded["backbone_fpn"][-3:]
        return ImageFeatures(
            top=top,
            position=encoded["vision_pos_enc"][-1].flatten(2).mT,
            fine=modules.sam_mask_decoder.fine(finest, fine),
        )

    def attend_memory(self, image: ImageFeatures, memories: Memories | None) -> torch.Tensor:
        """Reads the frame in the light of what the objects remember.

        Args:
            image: the frame.
            memories: of O objects; None for an object's first frame, which has no memory.

        Returns:
            (O, C, h, w); (1, C, h, w) where memories is None.
        """
        modules = self._modules
        if memories is None:
            alone: torch.Tensor = image.top + modules.no_mem_embed.view(1, -1, 1, 1)
            return alone
        pointers, pointer_position = self._pointer_tokens(memories)
        attended: torch.Tensor = modules.memory_attention(
            image.top.flatten(2).mT,
            image.position,
            memories.maps,
            self._map_position.index_select(0, self._when_made(memories.times)),
            pointers,
            pointer_position,
        )
        return attended.mT.reshape(len(attended), -1, *image.top.shape[-2:])

    def decode_masks(
        self,
        image: ImageFeatures,
        attended: torch.Tensor,
        *,
        prompts: PointPrompts | None = None,
        previous: torch.Tensor | None = None,
    ) -> Decoded:
        """Decodes one mask for each object.

        Args:
            image: the frame.
            attended: (O, C, h, w) from `attend_memory`.
            prompts: clicks and boxes on this frame.
            previous: (O, 1, 4h, 4w) logits that the prompts correct.
        """
        modules = self._modules
        clicks = 0 if prompts is None else prompts.labels.shape[1]
        several = bool(
            modules.multimask_output_in_sam
            and modules.multimask_output_for_tracking
            and modules.multimask_min_pt_num <= clicks <= modules.multimask_max_pt_num
        )
        earlier = None if previous is None else previous.clamp(-_CLAMP, _CLAMP)
        return self._decode(image, attended, prompts, earlier, several)

    def adopt_masks(self, image: ImageFeatures, masks: torch.Tensor) -> Decoded:
        """Takes given masks as they are, and derives what the memory needs of them.

        Args:
            image: the frame.
            masks: (O, 1, S, S) float32, 0 or 1.
        """
        modules = self._modules
        logits = F.interpolate(
            masks * _MASK_SCALE + _MASK_BIAS,
            size=(masks.shape[-2] // 4, masks.shape[-1] // 4),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        looks = self._decode(
            image, image.top.expand(masks.shape[0], -1, -1, -1), None, modules.mask_downsample(masks), False
        )
        visible = masks.flatten(1).any(dim=1, keepdim=True).to(torch.float32)
        pointers = visible * looks.pointers + (1 - visible) * modules.no_obj_ptr
        return Decoded(logits, _MASK_SCALE * visible + _MASK_BIAS, pointers)

    def encode_memory(self, image: ImageFeatures, decoded: Decoded, *, prompted: Sequence[bool]) -> torch.Tensor:
        """Makes the maps that the objects will remember of this frame.

        Args:
            image: the frame.
            decoded: the masks of O objects.
            prompted: O times, whether this is a prompted frame, whose mask is remembered as a hard 0 and 1.

        Returns:
            (O, T, C_map) bfloat16, T = h * w, or fewer where memory is pooled.
        """
        modules = self._modules
        logits = self._enlarge(decoded.logits.float(), self.image_size)
        masks = torch.sigmoid(logits)
        for i, hard in enumerate(prompted):
            if hard:
                masks[i] = logits[i] > 0
        masks.mul_(modules.sigmoid_scale_for_mem_enc).add_(modules.sigmoid_bias_for_mem_enc)
        maps: torch.Tensor = modules.memory_encoder(image.top, masks)
        if modules.no_obj_embed_spatial is not None:
            absent = (decoded.scores <= 0).to(torch.float32)
            maps = maps + absent[..., None, None] * modules.no_obj_embed_spatial[..., None, None]
        return self._pooled(maps).flatten(2).mT.to(torch.bfloat16)

    def _decode(
        self,
        image: ImageFeatures,
        attended: torch.Tensor,
        prompts: PointPrompts | None,
        dense: torch.Tensor | None,
        several: bool,
    ) -> Decoded:
        modules = self._modules
        objects = attended.shape[0]
        if prompts is None:
            coordinates = torch.zeros(objects, 1, 2, device=self.device)
            labels = -torch.ones(objects, 1, dtype=torch.int32, device=self.device)
        else:
            coordinates, labels = prompts.coordinates, prompts.labels
        if dense is not None and dense.shape[-2:] != modules.sam_prompt_encoder.mask_input_size:
            dense = F.interpolate(
                dense.float(),
                size=modules.sam_prompt_encoder.mask_input_size,
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        sparse_prompt, dense_prompt = modules.sam_prompt_encoder(points=(coordinates, labels), boxes=None, masks=dense)
        logits, quality, tokens, scores = modules.sam_mask_decoder(
            attended, sparse_prompt, dense_prompt, image.fine, several=several
        )
        visible = scores > 0
        token = tokens[:, 0]
        if several:
            best, each = quality.argmax(dim=-1), torch.arange(objects, device=self.device)
            logits = logits[each, best].unsqueeze(1)
            token = tokens[each, best] if tokens.shape[1] > 1 else token
        logits = torch.where(visible[:, None, None], logits, NO_OBJECT).float()
        weight = visible.float()
        pointers = weight * modules.obj_ptr_proj(token) + (1 - weight) * modules.no_obj_ptr
        return Decoded(logits, scores, pointers)

    def _pointer_tokens(self, memories: Memories) -> tuple[torch.Tensor, torch.Tensor]:
        """Pointers cut into tokens of the maps' width, and their encoding in time: two of (O, P * C / C_map, C_map)."""
        modules = self._modules
        pointers = memories.pointers
        objects, number, width = pointers.shape
        pieces = width // modules.mem_dim
        if modules.add_tpos_enc_to_obj_ptrs:
            encoded = {ages: self._when(ages, memories.longest) for ages in set(memories.ages)}
            position = torch.stack([encoded[ages] for ages in memories.ages])
        else:
            position = pointers.new_zeros(objects, number, modules.mem_dim)
        return pointers.reshape(objects, number * pieces, -1), position.repeat_interleave(pieces, dim=1)

    def _when_made(self, times: tuple[int, ...]) -> torch.Tensor:
        """(M,) int64, kept on the device: there are few such lists."""
        if times not in self._times:
            self._times[times] = upload(np.array(times, np.int64), self.device)
        return self._times[times]

    def _when(self, ages: tuple[int, ...], longest: int) -> torch.Tensor:
        """(P, C_map): the encoding of P ages in frames."""
        modules = self._modules
        dim = modules.hidden_dim if modules.proj_tpos_enc_in_obj_ptrs else modules.mem_dim
        when: torch.Tensor = get_1d_sine_pe(upload(np.array(ages), self.device) / longest, dim=dim)
        return torch.as_tensor(modules.obj_ptr_tpos_proj(when))

    def _full_map_position(self, side: int) -> torch.Tensor:
        """(maps, T, C_map): where and when each token of a full memory was, the conditioning frame's map first."""
        modules = self._modules
        example = torch.zeros(1, modules.mem_dim, side, side, device=self.device)
        where: torch.Tensor = self._pooled(modules.memory_encoder.position_encoding(example))[0].flatten(1).T
        when: torch.Tensor = modules.maskmem_tpos_enc.flatten(1)[:, None]
        return where + when.flip(0)

    def _pooled(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to the means of cells, (B, C, h / pool, w / pool)."""
        return F.avg_pool2d(maps, self._pool) if self._pool > 1 else maps


def _enlarged(logits: torch.Tensor, size: int) -> torch.Tensor:
    """(O, 1, h, w) to (O, 1, size, size), bilinear."""
    return F.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)


def _enlarged_in_threes(logits: torch.Tensor, size: int) -> torch.Tensor:
    """The same, rounded as the reference rounds it.

    The reference enlarges the three masks that compete for an object together, and torch's kernel for three channels
    rounds otherwise than that for one. The difference would tip values that memory then rounds to bfloat16.
    """
    objects = len(logits)
    threes = F.pad(logits, (0, 0, 0, 0, 0, 0, 0, -objects % 3)).reshape(-1, 3, *logits.shape[2:])
    return _enlarged(threes, size).flatten(0, 1)[:objects, None]
