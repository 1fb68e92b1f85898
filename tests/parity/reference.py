"""The reference, `sam2`'s own SAM2VideoPredictor, driven frame by frame, and small models with random weights."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from trackmatte.tracker.architecture import build, read_config
from trackmatte.tracker.model import open_model
from trackmatte.tracker.registry import ModelSpec
from trackmatte.types import Box, Frame, Mask, Point

CONFIGS = Path(__file__).parent / "configs"

# What `sam2.build_sam.build_sam2_video_predictor` sets by default.
DEFAULTS = [
    "_target_=sam2.sam2_video_predictor.SAM2VideoPredictor",
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
    "binarize_mask_from_pts_for_mem_enc=true",
    "fill_hole_area=8",
]


def small_spec(version):
    """`21` or `20`: a SAM 2.1 or SAM 2 with a small Hiera at 128 px."""
    config = CONFIGS / f"small{version}.yaml"
    return ModelSpec(f"small{version}", config, CONFIGS / "none", 0.3, 1.0)


def random_state(spec, seed=0, *, gain=0.7, score=0.5):
    """Weights at which masks change from frame to frame and depend on memory, yet rounding does not grow.

    With sam2's own initial weights masks are near constant; with large ones, binary choices flip on rounding.
    """
    torch.manual_seed(seed)
    state = build(read_config(spec.config)).state_dict()
    generator = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        if "gaussian" in name:
            state[name] = noise
        elif value.dim() >= 2 and any(part in name for part in ("embed", "token", "tpos_enc", "no_")):
            state[name] = noise * 0.5
        elif value.dim() >= 2:
            state[name] = noise * gain / value[0].numel() ** 0.5
        elif name.endswith(("weight", "gamma")):
            state[name] = 1 + 0.2 * noise
        else:
            state[name] = 0.1 * noise
    for i in range(4):
        state[f"sam_mask_decoder.output_hypernetworks_mlps.{i}.layers.2.weight"] *= 8
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"][:] = score
    return state


def small_model(version, seed=0):
    spec = small_spec(version)
    state = random_state(spec, seed)
    return open_model(spec, state, source="test", device=torch.device("cpu"), dtype=torch.float32), state


def reference_predictor(config, state):
    """SAM2VideoPredictor as `build_sam2_video_predictor` configures it, from any YAML file."""
    merged = OmegaConf.merge(read_config(config), OmegaConf.from_dotlist(DEFAULTS))
    predictor = instantiate(merged, _recursive_=True)
    predictor.load_state_dict(copy.deepcopy(state))
    return predictor.eval()


@dataclass
class Clip:
    """Frames as the reference loads them from a folder of JPEGs, and where the moving square is."""

    folder: Path
    frames: list[Frame]
    masks: list[np.ndarray]  # of the square in each frame, (H, W) bool


def moving_clip(folder, *, frames=20, size=(160, 120), side=36):
    """A textured square and a disc that move over noise; JPEGs in `folder`, decoded again with Pillow."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = size
    random = np.random.default_rng(0)
    ground = cv2.resize(random.integers(60, 140, (12, 16, 3)).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    texture = cv2.resize(random.integers(120, 255, (6, 6, 3)).astype(np.uint8), (side, side))
    made, masks = [], []
    for i in range(frames):
        image, mask = ground.copy(), np.zeros((height, width), bool)
        x, y = 10 + i * (width - side - 30) // frames, 20 + int(15 * np.sin(i / 3)) + 10
        image[y : y + side, x : x + side] = texture
        mask[y : y + side, x : x + side] = True
        cv2.circle(image, (width - 30 - 2 * i, height - 30 - i), 14, (220, 60, 30), -1)
        path = folder / f"{i:05d}.jpg"
        Image.fromarray(image).save(path, quality=95)
        read = np.array(Image.open(path).convert("RGB"))
        made.append(Frame(index=i, pts=i, time_base=Fraction(1, 25), image=read))
        masks.append(mask)
    return Clip(folder, made, masks)


@dataclass
class Expected:
    """What the reference says of an object in a frame: (1, 1, h, w) logits, (1, 1) score, (1, C) pointer."""

    logits: torch.Tensor
    score: torch.Tensor
    pointer: torch.Tensor


def _add(predictor, state, frame, name, prompts):
    masks = [prompt.mask for prompt in prompts if isinstance(prompt, Mask)]
    if masks:
        predictor.add_new_mask(state, frame, name, masks[0])
        return
    points = [prompt for prompt in prompts if isinstance(prompt, Point)]
    boxes = [[prompt.x0, prompt.y0, prompt.x1, prompt.y1] for prompt in prompts if isinstance(prompt, Box)]
    predictor.add_new_points_or_box(
        state,
        frame,
        name,
        points=np.array([(point.x, point.y) for point in points], np.float32) if points else None,
        labels=np.array([point.positive for point in points], np.int32) if points else None,
        box=boxes[0] if boxes else None,
    )


def _clear_around(predictor, state, frame, place):
    """What `clear_non_cond_mem_around_input` calls and is missing there, after its twin for all objects."""
    reach = predictor.memory_temporal_stride_for_eval * predictor.num_maskmem
    for index in range(frame - reach, frame + reach + 1):
        state["output_dict_per_obj"][place]["non_cond_frame_outputs"].pop(index, None)


def _propagated(predictor, state, clip, prompts):
    """All prompts declared, then one propagation; nothing for the frames before the first prompt."""
    for index, given in prompts.items():
        for name in dict.fromkeys(prompt.name for prompt in given):
            _add(predictor, state, index, name, [prompt for prompt in given if prompt.name == name])
    yield from (({}, None) for _ in range(min(prompts)))
    for index, _, large in predictor.propagate_in_video(state):
        yield _outputs(state, index), large


def _outputs(state, index):
    expected = {}
    for name, place in state["obj_id_to_idx"].items():
        outputs = state["output_dict_per_obj"][place]
        out = outputs["cond_frame_outputs"].get(index) or outputs["non_cond_frame_outputs"][index]
        expected[name] = Expected(out["pred_masks"], out["object_score_logits"], out["obj_ptr"])
    return expected


def run_reference(predictor, clip, prompts, *, seeds="memory", forget=False):
    """Tracks the clip with prompts {frame: [prompt, ...]}; yields {name: Expected} a frame, and the large logits.

    A new object's prompts are given before its frame is tracked, a correction's after, as in an interactive session;
    with `ahead` all are given before propagation. `pinned` and `forget` are switches of the predictor's.
    """
    predictor.add_all_frames_to_correct_as_cond = seeds == "pinned"
    predictor.clear_non_cond_mem_around_input = forget
    predictor._clear_obj_non_cond_mem_around_input = functools.partial(_clear_around, predictor)
    state = predictor.init_state(str(clip.folder))
    known = set()
    with torch.inference_mode():
        if seeds == "ahead":
            yield from _propagated(predictor, state, clip, prompts)
            return
        for index in range(len(clip.frames)):
            by_name = {}
            for prompt in prompts.get(index, ()):
                by_name.setdefault(prompt.name, []).append(prompt)
            for name in [name for name in by_name if name not in known]:
                _add(predictor, state, index, name, by_name[name])
            if not known and not by_name:
                yield {}, None
                continue
            next(iter(predictor.propagate_in_video(state, start_frame_idx=index)))
            for name in [name for name in by_name if name in known]:
                _add(predictor, state, index, name, by_name[name])
            predictor.propagate_in_video_preflight(state)
            known |= set(by_name)
            expected = _outputs(state, index)
            every = torch.cat([entry.logits for entry in expected.values()])
            _, large = predictor._get_orig_video_res_output(state, every)
            yield expected, large
