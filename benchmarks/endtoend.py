"""Frames a second of the whole job: read a clip, track one object, write its matte.

    python -m benchmarks.endtoend --model nano --against sam2.1-tiny --json out.json

See benchmarks/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import CLIP, shown, spread, weights, write
from benchmarks.stages import MODULES, Job, jpeg_folder, measure_reference, reference_predictor
from trackmatte.io.decode import open_clip
from trackmatte.outputs import OutputRequest, RunInfo, check_requests, opened
from trackmatte.pipeline import track_frames, write_outputs
from trackmatte.tracker.model import Model, load_model
from trackmatte.tracker.registry import find_spec
from trackmatte.types import Point

RABBIT = Point(370, 420)  # in the sample


@dataclass
class Intervals:
    """When parts of the network ran, on whatever thread."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    _started: dict[tuple[int, str], float] = field(default_factory=dict)

    def watch(self, model: Model) -> None:
        """Notes the forward passes of the network's modules by hooks."""
        for name in MODULES:
            module = getattr(model.network._modules, name)
            module.register_forward_pre_hook(self._start(name), with_kwargs=True)
            module.register_forward_hook(self._stop(name), with_kwargs=True)

    def length(self) -> float:
        """Seconds in which at least one part ran."""
        total, end = 0.0, 0.0
        for start, stop in sorted(self.spans):
            total += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return total

    def _start(self, name: str) -> Callable[..., None]:
        def start(*_: Any) -> None:
            self._started[threading.get_ident(), name] = time.perf_counter()

        return start

    def _stop(self, name: str) -> Callable[..., None]:
        def stop(*_: Any) -> None:
            self.spans.append((self._started[threading.get_ident(), name], time.perf_counter()))

        return stop


def measure(model: Model, clip: Path, intervals: Intervals, prompt: Point = RABBIT) -> dict[str, float]:
    """One pass: frames a second, and the share of the time in which no part of the network ran."""
    with tempfile.TemporaryDirectory() as folder, open_clip(clip) as reader:
        requests = [OutputRequest("matte", Path(folder) / "matte.mp4")]
        info = RunInfo(
            clip=reader.info, model=model.name, prompts=(prompt,), names=(prompt.name,), trim=False, overwrite=False
        )
        check_requests(requests, info)
        intervals.spans.clear()
        counted: list[Fraction] = []
        start, cpu = time.perf_counter(), time.process_time()
        with opened(requests, info) as writers:
            results = track_frames(reader, [prompt], model=model)
            write_outputs(results, writers, on_frame=lambda masks: counted.append(masks.pts_seconds))
        seconds = time.perf_counter() - start
        return {
            "frames a second": len(counted) / seconds,
            "share outside the network": 1 - intervals.length() / seconds,
            "processor seconds a frame": (time.process_time() - cpu) / len(counted),
        }


def measure_rival(name: str, clip: Path, frames: int) -> float:
    """Frames a second of `sam2`'s own predictor with another model, from the same frames to a matte.

    The weights are the network's own start, which does not change how long a frame takes. One pass over three frames
    warms up.
    """
    spec, device = find_spec(name), torch.device("cpu")
    state = weights(spec, random=True)
    with tempfile.TemporaryDirectory() as folder:
        size = jpeg_folder(clip, Path(folder), frames)
        job = Job(spec, state, Path(folder), frames, size, objects=1, device=device, precision="fp32", compile=False)
        predictor = reference_predictor(spec, state, device)
        measure_reference(predictor, replace(job, frames=3))
        return 1 / measure_reference(predictor, job)["total"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["auto", "fp32"])
    parser.add_argument("--speed", default="exact", choices=["exact", "fast"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--against", help="a model that sam2's own predictor runs on the first frames of the clip")
    parser.add_argument("--against-frames", type=int, default=12)
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="cannot import name '_C'")
    rival = measure_rival(options.against, options.clip, options.against_frames) if options.against else None
    results = []
    for precision in options.precision:
        model = load_model(
            options.model, device="cpu", precision=precision, speed=options.speed, compile=options.compile
        )
        intervals = Intervals()
        intervals.watch(model)
        passes = [measure(model, options.clip, intervals) for _ in range(options.runs + 1)][1:]
        result = {"model": model.name, "precision": precision, "speed": options.speed, "compile": options.compile}
        result |= {"runs": options.runs}
        if rival is not None:
            passes = [each | {f"times sam2 with {options.against}": each["frames a second"] / rival} for each in passes]
        result |= {key: spread([each[key] for each in passes]) for key in passes[0]}
        results.append(result)
        how = f"precision {precision}{', compiled' if options.compile else ''}, {options.speed}"
        print(f"{model.name}, {how}: {model.network.image_size} px, one object")
        for key in passes[0]:
            print(f"  {key:28}{shown(result[key], digits=3)}", flush=True)
    write(options.json, torch.device("cpu"), results)


if __name__ == "__main__":
    main()
