"""Run the network over clips as inference does, and collect the losses.

Shapes: V clips, T frames, K objects of each clip, N = V * K objects in all, S the picture's side, h = S / 4,
c = S / 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from torch import Tensor

from training.losses import LossWeights, frame_loss
from training.network import AuxiliaryHeads
from training.prompts import Points, PromptKind, correction, first_prompt
from training.types import Array

TRUNK_CHUNK = 8  # frames at a time: one shape to compile for


@dataclass(frozen=True)
class RolloutOptions:
    """How the clips are played. Probabilities are for the whole batch."""

    correct_first: float = 0.3  # a corrective click on the first frame (boxes and clicks)
    correct_later: float = 0.1  # a corrective click on one later frame
    true_presence: float = 0.1  # memories gated by the true presence instead of the predicted one
    damage: float = 0.25  # an object's memory of a frame is damaged, as drift would damage it
    gap: float = 0.4  # the later frames are numbered as if many lay between them and the first
    weights: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True)
class Features:
    """Image features of all clips and frames: (V, T, C, ., .) at strides 4, 8 and 16, and the last one's positions."""

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    position: Tensor  # (C, c, c)


@dataclass(frozen=True)
class Decoded:
    """masks (N, 4, h, h) raw logits; ious (N, 4); tokens (N, 4, C); score (N, 1); chosen (N,) what inference takes."""

    masks: Tensor
    ious: Tensor
    tokens: Tensor
    score: Tensor
    chosen: Tensor

    @property
    def mask(self) -> Tensor:
        """(N, 1, h, h) raw logits of the chosen mask."""
        return self.masks[torch.arange(len(self.masks)), self.chosen].unsqueeze(1)

    @property
    def token(self) -> Tensor:
        return self.tokens[torch.arange(len(self.tokens)), self.chosen]


def in_chunks(part: Callable[[Tensor], tuple[Tensor, list[Tensor]]], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """A part of the trunk run over (V * T, ...) inputs, a few at a time."""
    ends, levels = zip(*(part(chunk) for chunk in x.split(TRUNK_CHUNK)), strict=True)
    return torch.cat(ends), [torch.cat(parts) for parts in zip(*levels, strict=True)]


def encode(model: SAM2Base, levels: list[Tensor]) -> Features:
    """What the neck makes of the trunk's levels."""
    outputs, positions = model.image_encoder.neck([level.flatten(0, 1) for level in levels])
    fine = model.sam_mask_decoder.conv_s0(outputs[0])
    middle = model.sam_mask_decoder.conv_s1(outputs[1])
    fine, middle, coarse = (x.unflatten(0, levels[0].shape[:2]) for x in (fine, middle, outputs[2]))
    return Features(fine, middle, coarse, positions[2][0])


class Rollout:
    """One batch of clips: `masks` (V, K, T, S, S) bool are the truth."""

    def __init__(
        self,
        model: SAM2Base,
        heads: AuxiliaryHeads | None,
        features: Features,
        masks: Array,
        rng: np.random.Generator,
        options: RolloutOptions,
    ):
        self.model, self.heads, self.features, self.rng, self.options = model, heads, features, rng, options
        self.objects = masks.shape[1]
        self.truth = masks.reshape(-1, *masks.shape[2:])  # (N, T, S, S)
        device = features.coarse.device
        coverage = torch.from_numpy(self.truth.astype(np.float32))
        self.target = F.avg_pool2d(coverage, 4).to(device)  # (N, T, h, h)
        self.present = self.target.flatten(2).amax(2) > 0.5  # (N, T)
        self.loss = torch.zeros((), device=device)
        self.terms = 0
        self.ious: list[Tensor] = []  # (N,) of each frame
        self.memory: dict[str, dict[int, dict[str, object]]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}

    def play(self, kind: PromptKind) -> None:
        """All frames, prompted at the first."""
        frames = self.target.shape[1]
        self.use_truth = self.chance(self.options.true_presence)
        offset = int(self.rng.integers(1, 60)) if self.chance(self.options.gap) else 0
        corrected = int(self.rng.integers(1, frames)) if frames > 1 and self.chance(self.options.correct_later) else 0
        self.seed(kind, remember=frames > 1)
        for t in range(1, frames):
            self.track(t, t + offset, correct=t == corrected, remember=t + 1 < frames)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    # frames

    def seed(self, kind: PromptKind, remember: bool) -> None:
        coarse = self.level("coarse", 0)
        if kind == "mask":
            mask = torch.from_numpy(self.truth[:, :1].astype(np.float32)).to(coarse.device)
            decoded = self.decode(coarse, 0, None, self.model.mask_downsample(mask))
            decoded = self.supervise(decoded, None, 0)
            self.ious.append(torch.ones(len(mask), device=coarse.device))
            logits, present = mask * 20 - 10, self.present[:, :1]
        else:
            conditioned = coarse + self.model.no_mem_embed[0, 0, :, None, None]
            points = first_prompt(self.rng, kind, self.truth[:, 0])
            decoded = self.supervise(self.decode(conditioned, 0, points, None), None, 0)
            if self.chance(self.options.correct_first):
                decoded = self.correct(decoded, conditioned, 0, points)
            self.ious.append(self.score(decoded, 0))
            logits, present = self.as_memory(decoded, 0)
            if self.chance(0.5):  # as inference does with prompted frames
                logits = torch.where(logits > 0, 10.0, -10.0)
        if remember:
            self.write(decoded, logits, present, 0, 0)

    def track(self, t: int, number: int, correct: bool, remember: bool) -> None:
        """Frame `t` of the clip, which the memory knows as frame `number`."""
        coarse = self.level("coarse", t)
        side = coarse.shape[-1]
        conditioned = self.model._prepare_memory_conditioned_features(
            frame_idx=number,
            is_init_cond_frame=False,
            current_vision_feats=[coarse.flatten(2).permute(2, 0, 1)],
            current_vision_pos_embeds=[self.features.position.flatten(1).T[:, None].expand(-1, len(coarse), -1)],
            feat_sizes=[(side, side)],
            output_dict=self.memory,
            num_frames=1000,
        )
        decoded = self.supervise(self.decode(conditioned, t, None, None), conditioned, t)
        self.ious.append(self.score(decoded, t))
        if correct:
            decoded = self.correct(decoded, conditioned, t, None)
        if remember:
            logits, present = self.as_memory(decoded, t)
            self.write(decoded, self.damaged(logits, t), present, t, number)

    # steps

    def level(self, name: str, t: int) -> Tensor:
        return getattr(self.features, name)[:, t].repeat_interleave(self.objects, 0)

    def decode(self, conditioned: Tensor, t: int, points: Points | None, mask: Tensor | None) -> Decoded:
        model, count, device = self.model, len(conditioned), conditioned.device
        if points is None:
            points = Points(torch.zeros(count, 1, 2), -torch.ones(count, 1, dtype=torch.int32))
            clicks = 0
        else:
            clicks = points.labels.shape[1]
        sparse, dense = model.sam_prompt_encoder(
            points=(points.coords.to(device), points.labels.to(device)), boxes=None, masks=mask
        )
        masks, ious, tokens, score = model.sam_mask_decoder.predict_masks(
            image_embeddings=conditioned,
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=[self.level("fine", t), self.level("middle", t)],
        )
        several = clicks <= 1 and not (mask is not None and clicks == 0)
        chosen = ious[:, 1:].argmax(1) + 1 if several else torch.zeros(count, dtype=torch.long, device=device)
        return Decoded(masks, ious, tokens, score, chosen)

    def supervise(self, decoded: Decoded, conditioned: Tensor | None, t: int) -> Decoded:
        """Add the losses of the decoder's last run. `conditioned`: the features where they know the object."""
        auxiliaries = self.heads(conditioned) if self.heads is not None else []
        self.loss = self.loss + frame_loss(
            decoded.masks, decoded.ious, decoded.score, auxiliaries, self.target[:, t], self.options.weights
        )
        self.terms += 1
        return decoded

    def correct(self, decoded: Decoded, conditioned: Tensor, t: int, points: Points | None) -> Decoded:
        """A corrective click, given with the mask so far and the clicks so far."""
        previous = decoded.mask.detach().clamp(-32, 32)
        guess = F.interpolate(previous, scale_factor=4, mode="bilinear")[:, 0] > 0
        click = correction(self.rng, self.truth[:, t], guess.cpu().numpy())
        points = click if points is None else points.and_then(click)
        return self.supervise(self.decode(conditioned, t, points, previous), None, t)

    def as_memory(self, decoded: Decoded, t: int) -> tuple[Tensor, Tensor]:
        """(N, 1, S, S) logits for the memory, and whether each object is present (N, 1)."""
        present = self.present[:, t : t + 1] if self.use_truth else decoded.score > 0
        logits = torch.where(present[:, :, None, None], decoded.mask, NO_OBJ_SCORE)
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False), present

    def damaged(self, logits: Tensor, t: int) -> Tensor:
        """Some objects' masks without what lies beyond a random line through them, or with a blot beside them.

        Real clips are long, and small losses add up in the memory; the network must learn to take them back.
        """
        logits = logits.clone()
        side = logits.shape[-1]
        ys, xs = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        for n, truth in enumerate(self.truth[:, t]):
            if not self.chance(self.options.damage) or not truth.any():
                continue
            rows, columns = np.nonzero(truth)
            spread = float(rows.std() + columns.std()) / 2 + 1
            angle, shift = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(-0.5, 1.2)
            dx, dy = float(np.cos(angle)), float(np.sin(angle))
            along = ((xs - columns.mean()) * dx + (ys - rows.mean()) * dy).to(logits.device)
            if self.chance(0.7):
                logits[n, 0][along > shift * spread] = -10.0
            else:
                middle = 2.2 * spread
                across = ((ys - rows.mean()) * dx - (xs - columns.mean()) * dy).to(logits.device)
                logits[n, 0][(along - middle).square() + across.square() < (0.9 * spread) ** 2] = 10.0
        return logits

    def write(self, decoded: Decoded, logits: Tensor, present: Tensor, t: int, number: int) -> None:
        model, coarse = self.model, self.level("coarse", t)
        side = coarse.shape[-1]
        features, positions = model._encode_new_memory(
            current_vision_feats=[coarse.flatten(2).permute(2, 0, 1)],
            feat_sizes=[(side, side)],
            pred_masks_high_res=logits,
            object_score_logits=present.float() * 20 - 10,
            is_mask_from_pts=False,
        )
        seen = present.float()
        pointer = seen * model.obj_ptr_proj(decoded.token) + (1 - seen) * model.no_obj_ptr
        kind = "cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"
        self.memory[kind][number] = {
            "maskmem_features": features,
            "maskmem_pos_enc": positions,
            "obj_ptr": pointer,
        }

    def score(self, decoded: Decoded, t: int) -> Tensor:
        """(N,) IoU of what inference would show; an absent object rightly not shown counts 1."""
        shown = torch.where(decoded.score[:, :, None, None] > 0, decoded.mask.detach(), NO_OBJ_SCORE)[:, 0]
        truth = self.target[:, t] > 0.5
        union = ((shown > 0) | truth).flatten(1).sum(1).float()
        overlap = ((shown > 0) & truth).flatten(1).sum(1)
        return torch.where(union > 0, overlap / union.clamp(min=1), torch.ones_like(union))
