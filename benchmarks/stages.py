"""Seconds a frame, stage by stage, beside `sam2`'s own SAM2VideoPredictor: same process, frames, weights and threads.

    python -m benchmarks.stages --model nano --objects 1 4 --json out.json

See benchmarks/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from trackmatte.io.decode import open_clip
from trackmatte.kernels.precision import half
from trackmatte.tracker.architecture import build, read_config
from trackmatte.tracker.model import Model, open_model
from trackmatte.tracker.propagate import PropagateOptions, Propagator
from trackmatte.tracker.registry import ModelSpec, find_spec
from trackmatte.tracker.weights import State, locate, read_state
from trackmatte.types import Point

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
    dtype: torch.dtype

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
    with open_clip(job.folder) as clip:
        frames = iter(clip)
        for _ in range(job.frames):
            with clock.stage("decode"):
                frame = next(frames)
            encoding = clock.seconds["image encoder"]
            with clock.stage("preprocess"):
                image = propagator.prepare(frame)
            clock.seconds["preprocess"] -= clock.seconds["image encoder"] - encoding
            propagator.step(frame, image)
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
    before, cpu = faults(), time.process_time()
    start = clock.now()
    with torch.inference_mode(), half(job.device, job.dtype):
        state = predictor.init_state(str(job.folder))
        loading = clock.now() - start - clock.seconds["image encoder"] - clock.seconds["decode"]
        clock.seconds["preprocess"] = max(loading, 0.0)
        for i, (x, y) in enumerate(job.clicks()):
            predictor.add_new_points_or_box(
                state, 0, i, points=np.array([[x, y]], np.float32), labels=np.array([1], np.int32)
            )
        for _, _, logits in predictor.propagate_in_video(state):
            (logits > 0).cpu().numpy()
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


def random_weights(spec: ModelSpec) -> State:
    """The network's own start; speed does not depend on what the weights are."""
    torch.manual_seed(0)
    state: State = build(read_config(spec.config)).state_dict()
    return state


def jpeg_folder(source: Path, folder: Path, count: int) -> tuple[int, int]:
    """Writes the first frames of a clip as JPEGs, which both sides read; returns width and height."""
    with open_clip(source) as clip:
        for frame, _ in zip(clip, range(count), strict=False):
            Image.fromarray(frame.image8).save(folder / f"{frame.index:05d}.jpg", quality=95)
        return clip.info.width, clip.info.height


def side_by_side(job: Job, runs: int) -> dict[str, Any]:
    """Alternates passes of both sides: one of each to warm up, then `runs` of each."""
    model = open_model(job.spec, job.state, source="weights", device=job.device, dtype=job.dtype)
    predictor = reference_predictor(job.spec, job.state, job.device)
    passes: dict[str, list[dict[str, float]]] = {"trackmatte": [], "reference": []}
    for i in range(runs + 1):
        ours, theirs = measure_ours(model, job), measure_reference(predictor, job)
        if i:
            passes["trackmatte"].append(ours)
            passes["reference"].append(theirs)
    sides = {side: summary(rows) for side, rows in passes.items()}
    ratios = [b["total"] / a["total"] for a, b in zip(passes["trackmatte"], passes["reference"], strict=True)]
    cpu = [b["cpu total"] / a["cpu total"] for a, b in zip(passes["trackmatte"], passes["reference"], strict=True)]
    return {
        "model": job.spec.name,
        "objects": job.objects,
        "frames": job.frames,
        "runs": runs,
        "size": list(job.size),
        "speed_of_reference": spread(ratios),
        "speed_of_reference_cpu_time": spread(cpu),
        **sides,
    }


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {key: spread([row[key] for row in rows]) for key in rows[0]}


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def table(result: dict[str, Any]) -> str:
    """The result as lines of text: milliseconds a frame, median (least to most)."""
    ratio = result["speed_of_reference"]
    lines = [
        f"{result['model']}, {result['objects']} object(s), {result['frames']} frames of "
        f"{result['size'][0]}x{result['size'][1]}, {result['runs']} runs: {ratio['median']:.2f} times the reference's "
        f"speed ({ratio['least']:.2f} to {ratio['most']:.2f}); by CPU time "
        f"{result['speed_of_reference_cpu_time']['median']:.2f}",
        f"{'ms a frame':22}{'trackmatte':>28}{'reference':>28}",
    ]
    for row in [*STAGES, "total", "cpu total", "page faults"]:
        scale = 1 if row == "page faults" else 1000
        cells = [
            "{:9.2f} ({:.2f} to {:.2f})".format(
                *(scale * result[side][row][key] for key in ("median", "least", "most"))
            )
            for side in ("trackmatte", "reference")
        ]
        lines.append(f"{row:22}{cells[0]:>28}{cells[1]:>28}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--random", action="store_true", help="random weights: needs no checkpoint")
    parser.add_argument("--clip", type=Path, default=Path(__file__).parent.parent / "samples" / "bunny.mp4")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4], choices=range(1, len(CLICKS) + 1))
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--json", type=Path, help="write the results here")
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore", message="cannot import name '_C'")
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    spec = find_spec(options.model)
    state = random_weights(spec) if options.random else read_state(locate(spec))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        size = jpeg_folder(options.clip, Path(folder), options.frames)
        count = len(os.listdir(folder))
        for objects in options.objects:
            job = Job(spec, state, Path(folder), count, size, objects, device, dtype)
            results.append(side_by_side(job, options.runs))
            print(table(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(device), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
