"""Seconds a frame, stage by stage, beside `sam2`'s own SAM2VideoPredictor: same process, frames, weights and threads.

    python -m benchmarks.stages --model nano --objects 1 4 --speed exact --json out.json

See benchmarks/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.common import CLIP, shown, spread, weights, without_tiles, write
from trackmatte.io.decode import open_clip
from trackmatte.io.encode import VideoWriter
from trackmatte.kernels.native.build import engine_of
from trackmatte.kernels.precision import half, resolve_dtype
from trackmatte.tracker.architecture import read_config
from trackmatte.tracker.model import Model, open_model
from trackmatte.tracker.propagate import PropagateOptions, Propagator
from trackmatte.tracker.registry import SMALL, ModelSpec, find_spec
from trackmatte.tracker.weights import State
from trackmatte.types import BoolArray, ClipInfo, Frame, Point

# What `sam2.build_sam.build_sam2_video_predictor` sets by default.
REFERENCE_DEFAULTS = [
    "_target_=sam2.sam2_video_predictor.SAM2VideoPredictor",
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
    "binarize_mask_from_pts_for_mem_enc=true",
    "fill_hole_area=8",
]

# Modules that both sides call under the same names, and the stage that each belongs to.
MODULES = {
    "image_encoder": "image encoder",
    "memory_attention": "memory attention",
    "sam_prompt_encoder": "mask decoder",
    "sam_mask_decoder": "mask decoder",
    "memory_encoder": "memory encoder",
}
STAGES = [
    "decode",
    "preprocess",
    "image encoder",
    "memory attention",
    "mask decoder",
    "memory encoder",
    "encode",
    "postprocess and rest",
]
CLICKS = [(0.35, 0.45), (0.6, 0.5), (0.2, 0.7), (0.8, 0.3)]  # shares of width and height, an object each


@dataclass(frozen=True)
class Job:
    """One side by side: the same model, frames and number of objects."""

    spec: ModelSpec
    state: State
    folder: Path
    frames: int
    size: tuple[int, int]
    objects: int
    device: torch.device
    precision: str
    compile: bool

    @property
    def dtype(self) -> torch.dtype:
        """trackmatte's."""
        return resolve_dtype(self.precision, self.device, small=self.spec.parameters < SMALL, compile=self.compile)

    @property
    def reference_dtype(self) -> torch.dtype:
        """The reference's: float32 on a CPU, where it has no other path; on a GPU the same as trackmatte's."""
        return torch.float32 if self.device.type == "cpu" else self.dtype

    def clicks(self) -> list[tuple[float, float]]:
        width, height = self.size
        return [(x * width, y * height) for x, y in CLICKS[: self.objects]]


class Stopwatch:
    """Seconds by stage; waits for the device where it works on its own."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._started = 0.0

    def now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def watch(self, modules: torch.nn.Module) -> list[Any]:
        """Times the forward passes of MODULES by hooks; returns the hooks' handles."""
        handles = []
        for name, stage in MODULES.items():
            module = getattr(modules, name)
            handles.append(module.register_forward_pre_hook(self._start, with_kwargs=True))
            handles.append(module.register_forward_hook(self._stop(stage), with_kwargs=True))
        return handles

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = self.now()
        yield
        self.seconds[name] += self.now() - start

    def _start(self, *_: Any) -> None:
        self._started = self.now()

    def _stop(self, stage: str) -> Callable[..., None]:
        def stop(*_: Any) -> None:
            self.seconds[stage] += self.now() - self._started

        return stop


def reference_predictor(spec: ModelSpec, state: State, device: torch.device) -> Any:
    """SAM2VideoPredictor as `build_sam2_video_predictor` configures it, from any YAML file."""
    predictor = instantiate(OmegaConf.merge(read_config(spec.config), OmegaConf.from_dotlist(REFERENCE_DEFAULTS)))
    predictor.load_state_dict(state)
    return predictor.eval().to(device)


class Matte:
    """Writes the union of the masks as a video, which the reference leaves to its users, with one writer for both."""

    def __init__(self, clock: Stopwatch, clip: ClipInfo, folder: str) -> None:
        self._clock = clock
        self._writer = VideoWriter(Path(folder) / "matte.mp4", clip=clip, kind="matte")

    def write(self, index: int, masks: BoolArray) -> None:
        """Args: masks: (O, H, W)."""
        with self._clock.stage("encode"):
            white = masks.any(axis=0).view(np.uint8) * np.uint8(255)
            self._writer.write(Frame(index, index, Fraction(1, 25), white))

    def finish(self) -> None:
        with self._clock.stage("encode"):
            self._writer.finish()


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure_ours(model: Model, job: Job) -> dict[str, float]:
    """Seconds a frame by stage, of one pass over the clip."""
    clock = Stopwatch(job.device)
    handles = clock.watch(model.network._modules)
    width, height = job.size
    propagator = Propagator(model, height=height, width=width, options=PropagateOptions())
    propagator.seed([Point(x, y, name=str(i)) for i, (x, y) in enumerate(job.clicks())])
    before, cpu = faults(), time.process_time()
    start = clock.now()
    with open_clip(job.folder) as clip, tempfile.TemporaryDirectory() as folder:
        frames, matte = iter(clip), Matte(clock, clip.info, folder)
        for _ in range(job.frames):
            with clock.stage("decode"):
                frame = next(frames)
            encoding = clock.seconds["image encoder"]
            with clock.stage("preprocess"):
                image = propagator.prepare(frame)
            clock.seconds["preprocess"] -= clock.seconds["image encoder"] - encoding
            matte.write(frame.index, propagator.step(frame, image).masks)
        matte.finish()
    return finish(clock, start, before, cpu, handles, job.frames)


def measure_reference(predictor: Any, job: Job) -> dict[str, float]:
    """The same of the reference, which decodes and preprocesses all frames before it starts.

    How that time divides is told by decoding the same files once more, outside the total.
    """
    clock = Stopwatch(job.device)
    handles = clock.watch(predictor)
    with clock.stage("decode"):
        for path in sorted(job.folder.iterdir()):
            np.array(Image.open(path).convert("RGB"))
    with open_clip(job.folder) as clip:
        info = clip.info
    before, cpu = faults(), time.process_time()
    start = clock.now()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), half(job.device, job.reference_dtype):
        matte = Matte(clock, info, folder)
        state = predictor.init_state(str(job.folder))
        loading = clock.now() - start - clock.seconds["image encoder"] - clock.seconds["decode"]
        clock.seconds["preprocess"] = max(loading, 0.0)
        for i, (x, y) in enumerate(job.clicks()):
            predictor.add_new_points_or_box(
                state, 0, i, points=np.array([[x, y]], np.float32), labels=np.array([1], np.int32)
            )
        for index, _, logits in predictor.propagate_in_video(state, max_frame_num_to_track=job.frames - 1):
            matte.write(index, (logits[:, 0] > 0).cpu().numpy())
        matte.finish()
    return finish(clock, start, before, cpu, handles, job.frames)


def finish(
    clock: Stopwatch, start: float, faults_before: int, cpu_before: float, handles: list[Any], frames: int
) -> dict[str, float]:
    total = clock.now() - start
    cpu = time.process_time() - cpu_before
    for handle in handles:
        handle.remove()
    seconds = {stage: clock.seconds.get(stage, 0.0) / frames for stage in STAGES[:-1]}
    seconds["postprocess and rest"] = total / frames - sum(seconds.values())
    return seconds | {
        "total": total / frames,
        "cpu total": cpu / frames,
        "page faults": (faults() - faults_before) / frames,
    }


def jpeg_folder(source: Path, folder: Path, count: int) -> tuple[int, int]:
    """Writes the first frames of a clip as JPEGs, which both sides read; returns width and height."""
    with open_clip(source) as clip:
        for frame, _ in zip(clip, range(count), strict=False):
            Image.fromarray(frame.image8).save(folder / f"{frame.index:05d}.jpg", quality=95)
        return clip.info.width, clip.info.height


def side_by_side(job: Job, speeds: list[str], runs: int, warm: int) -> dict[str, Any]:
    """Alternates passes of all sides: one of each over `warm` frames to warm up, then `runs` of each over all."""
    sides: dict[str, Callable[[Job], dict[str, float]]] = {
        f"trackmatte {speed}": partial(measure_ours, load(job, speed)) for speed in speeds
    }
    sides["reference"] = partial(measure_reference, reference_predictor(job.spec, job.state, job.device))
    for measure in sides.values():
        measure(replace(job, frames=warm))
    passes = [{side: measure(job) for side, measure in sides.items()} for _ in range(runs)]
    return {
        "model": job.spec.name,
        "precision": job.precision,
        "compile": job.compile,
        "engine": engine_of(job.dtype) if job.compile and job.device.type == "cpu" else None,
        "objects": job.objects,
        "frames": job.frames,
        "runs": runs,
        "size": list(job.size),
        "speed_of_reference": {
            side: {
                total: spread([each["reference"][total] / each[side][total] for each in passes])
                for total in ("total", "cpu total")
            }
            for side in sides
            if side != "reference"
        },
        "sides": {side: summary([each[side] for each in passes]) for side in sides},
    }


def load(job: Job, speed: str) -> Model:
    """trackmatte's model, as `load_model` makes it."""
    return open_model(
        job.spec,
        job.state,
        source="weights",
        device=job.device,
        dtype=job.dtype,
        careful=job.precision != "auto",
        speed=speed,
        compile=job.compile,
    )


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {key: spread([row[key] for row in rows]) for key in rows[0]}


def table(result: dict[str, Any]) -> str:
    """The result as lines of text: milliseconds a frame, median (least to most)."""
    engine = f" ({result['engine']})" if result["engine"] else ""
    how = f"{result['precision']}{', compiled' + engine if result['compile'] else ''}"
    lines = [
        f"{result['model']}, precision {how}, {result['objects']} object(s), {result['frames']} frames "
        f"of {result['size'][0]}x{result['size'][1]}, {result['runs']} runs"
    ]
    for side, ratio in result["speed_of_reference"].items():
        by_cpu = ratio["cpu total"]["median"]
        lines.append(f"{side}: {shown(ratio['total'])} times the reference's speed; by CPU time {by_cpu:.2f}")
    lines.append(f"{'ms a frame':22}" + "".join(f"{side:>32}" for side in result["sides"]))
    for row in [*STAGES, "total", "cpu total", "page faults"]:
        cells = [shown(side[row], 1 if row == "page faults" else 1000, 1) for side in result["sides"].values()]
        lines.append(f"{row:22}" + "".join(f"{cell:>32}" for cell in cells))
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--random", action="store_true", help="random weights: needs no checkpoint")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4], choices=range(1, len(CLICKS) + 1))
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--warm", type=int, help="frames of the pass that warms up; default: all")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"], help="trackmatte's")
    parser.add_argument("--compile", action="store_true", help="trackmatte's")
    parser.add_argument("--without-tiles", action="store_true", help="compiled as on a CPU without AMX")
    parser.add_argument("--speed", nargs="+", default=["exact"], choices=["exact", "fast"], help="trackmatte's")
    parser.add_argument("--json", type=Path, help="write the results here")
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore", message="cannot import name '_C'")
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.without_tiles:
        without_tiles()
    device = torch.device(options.device)
    spec = find_spec(options.model)
    state = weights(spec, random=options.random)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        size = jpeg_folder(options.clip, Path(folder), options.frames)
        count = len(os.listdir(folder))
        for objects in options.objects:
            job = Job(spec, state, Path(folder), count, size, objects, device, options.precision, options.compile)
            results.append(side_by_side(job, options.speed, options.runs, options.warm or count))
            print(table(results[-1]), flush=True)
    write(options.json, device, results)


if __name__ == "__main__":
    sys.exit(main())
