"""Evaluate on real clips: `python -m training.evaluate --data ../shared/data/davis-dev --prompt mask`.

Runs `sam2`'s own video predictor, with the settings that it uses by default, or trackmatte itself (`--engine`), on
folders NAME/{frames,masks} in DAVIS's form, and prints J, F and J&F with the first and the last frame left out. The
clips are for evaluation only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from sam2.modeling.sam2_base import SAM2Base

from trackmatte.evaluation import boundary_f, region_similarity
from trackmatte.io.decode import open_clip
from trackmatte.kernels.precision import resolve_dtype
from trackmatte.tracker.model import Model
from trackmatte.tracker.network import Network
from trackmatte.tracker.propagate import PropagateOptions, Propagator
from trackmatte.tracker.registry import find_spec
from trackmatte.tracker.twins import NetworkOptions
from trackmatte.types import Box, Mask, Point, Prompt
from training import checkpoint
from training.network import build, set_size
from training.prompts import PromptKind, centre
from training.types import Array

WEIGHTS = Path(__file__).parent.parent / "trackmatte" / "tracker" / "data" / "nano.safetensors"
SEVERAL_OBJECTS = ("dogs-jump",)
DEFAULTS = {  # what build_sam2_video_predictor sets; filling holes needs a GPU in that package
    "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability": True,
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": 0.05,
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": 0.98,
    "binarize_mask_from_pts_for_mem_enc": True,
    "fill_hole_area": 0,
}


@dataclass(frozen=True)
class Score:
    """Means over a sequence's frames, in percent. `seed`: J of the prompted frame."""

    name: str
    j: float
    f: float
    seed: float
    late: float  # J of the last quarter

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2


Track = Callable[[Path, Array, PromptKind], Iterator[Array]]  # frames, the object in the first: its mask in each


def load(weights: Path, size: int | None, **settings: object) -> SAM2Base:
    """The modules with the weights of a checkpoint or of an exported file."""
    model = build(**settings)
    state = load_file(weights) if weights.suffix == ".safetensors" else checkpoint.model_weights(weights)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    set_size(model, size or model.image_size)
    return model


def read_mask(path: Path) -> Array:
    with Image.open(path) as image:
        return np.array(image) > 0


def box_of(mask: Array) -> tuple[float, float, float, float]:
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def reference(model: SAM2Base) -> Track:
    """`sam2`'s predictor."""

    @torch.inference_mode()
    def track(frames: Path, truth: Array, prompt: PromptKind) -> Iterator[Array]:
        state = model.init_state(str(frames))
        if prompt == "mask":
            model.add_new_mask(state, 0, 1, truth)
        elif prompt == "box":
            model.add_new_points_or_box(state, 0, 1, box=np.array(box_of(truth), np.float32))
        else:
            points = np.array([centre(truth)], np.float32)
            model.add_new_points_or_box(state, 0, 1, points=points, labels=np.array([1], np.int32))
        for _, _, logits in model.propagate_in_video(state):
            yield (logits[0, 0] > 0).numpy()

    return track


def trackmatte(model: SAM2Base, precision: str, speed: str) -> Track:
    """trackmatte, run as `load_model` runs it with these options."""
    device = torch.device("cpu")
    dtype = resolve_dtype(precision, device, small=True)
    pool = find_spec("nano").pool if speed == "fast" else 1
    network = Network(model, NetworkOptions(dtype=dtype, careful=precision == "fp32", pool=pool))
    engine = Model("nano", network, device, dtype)

    def track(frames: Path, truth: Array, prompt: PromptKind) -> Iterator[Array]:
        given: Prompt = {
            "mask": lambda: Mask(truth),
            "box": lambda: Box(*box_of(truth)),
            "click": lambda: Point(*centre(truth)),
        }[prompt]()
        height, width = truth.shape
        propagator = Propagator(engine, height=height, width=width, options=PropagateOptions(fill_hole_area=0))
        propagator.seed([given])
        with open_clip(frames) as clip:
            for frame in clip:
                yield propagator.step(frame).masks[0]

    return track


def evaluate(track: Track, sequence: Path, prompt: PromptKind, out: Path | None) -> Score:
    frames, masks = sequence / "frames", sorted((sequence / "masks").glob("*.png"))
    j, f = [], []
    for index, mask in enumerate(track(frames, read_mask(masks[0]), prompt)):
        truth = read_mask(masks[index])
        j.append(region_similarity(mask, truth))
        f.append(boundary_f(mask, truth))
        if out is not None:
            write(out / sequence.name, masks[index].stem, frames, mask, truth)
    quarter = max(1, len(j) // 4)
    return Score(
        sequence.name,
        100 * float(np.mean(j[1:-1])),
        100 * float(np.mean(f[1:-1])),
        100 * j[0],
        100 * float(np.mean(j[-quarter:])),
    )


def write(folder: Path, stem: str, frames: Path, mask: Array, truth: Array) -> None:
    """An overlay: the prediction filled in red, the truth outlined in green."""
    folder.mkdir(parents=True, exist_ok=True)
    image = cv2.imread(str(frames / f"{stem}.jpg"))
    image[mask] = image[mask] // 2 + np.array([0, 0, 127], np.uint8)
    contours, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, (0, 255, 0), 2)
    cv2.imwrite(str(folder / f"{stem}.jpg"), image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prompt", choices=("mask", "box", "click"), default="mask")
    parser.add_argument("--checkpoint", type=Path, default=WEIGHTS, help="default: the weights of the package")
    parser.add_argument("--size", type=int, help="another picture size than the config's")
    parser.add_argument("--sequences", nargs="*", help="default: all with one object")
    parser.add_argument("--out", type=Path, help="a folder for overlays")
    parser.add_argument("--engine", choices=("reference", "trackmatte"), default="reference")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="trackmatte's")
    parser.add_argument("--speed", choices=("exact", "fast"), default="exact", help="trackmatte's")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    if options.engine == "reference":
        track = reference(load(options.checkpoint, options.size, **DEFAULTS))
    else:
        settings = {key: value for key, value in DEFAULTS.items() if key.startswith("sam_mask_decoder")}
        track = trackmatte(load(options.checkpoint, options.size, **settings), options.precision, options.speed)
    folders = sorted(p for p in options.data.iterdir() if (p / "frames").is_dir() and p.name not in SEVERAL_OBJECTS)
    scores = []
    for folder in folders:
        if options.sequences and folder.name not in options.sequences:
            continue
        scores.append(evaluate(track, folder, options.prompt, options.out))
        report(scores[-1])
    mean = Score("mean", *(float(np.mean([getattr(s, key) for s in scores])) for key in ("j", "f", "seed", "late")))
    report(mean)


def report(score: Score) -> None:
    print(
        f"{score.name:16} J&F {score.jf:5.1f}  J {score.j:5.1f}  F {score.f:5.1f}  "
        f"first frame's J {score.seed:5.1f}  last quarter's J {score.late:5.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
