"""Frames a second of tracking, from frames in memory to masks in memory, beside the reference and its compiled path."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import spread
from benchmarks.gpu.runner import Report
from benchmarks.gpu.setting import Held, Setting, as_jpegs, clicks, load, reference
from trackmatte.kernels.precision import half
from trackmatte.pipeline import track_frames
from trackmatte.tracker.model import Model

Pass = Callable[[int], Iterator[None]]  # of a number of objects; yields when a frame's masks are there


@dataclass(frozen=True, slots=True)
class Run:
    """How much to measure: frames of a pass, those of them that only fill the memory, and passes."""

    frames: int
    filling: int
    passes: int


def measure(setting: Setting, report: Report, *, size: str) -> None:
    """The reference's compiler may take longer than there is time: what needs none of it is reported before."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as the reference's examples do
    if setting.smoke:
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
    run = Run(setting.many(32, 3), setting.many(10, 1), setting.many(3, 1))
    spec = setting.spec(f"sam2.1-{size}")
    with tempfile.TemporaryDirectory() as folder:
        clip = as_jpegs(run.frames, Path(folder))
        ours = partial(load, spec, setting.device, setting.dtype, careful=False)
        sides: dict[str, Pass] = {
            "trackmatte": partial(track, ours(), clip),
            "reference": Reference(setting, reference(spec, setting.device), folder, clip).track,
            "trackmatte compiled": partial(track, ours(compile=True), clip),
        }
        compare(setting, report, sides, run, "reference")
        del sides["reference"]
        optimized = reference(spec, setting.device, optimized=True)
        sides["reference compiled"] = Reference(setting, optimized, folder, clip).track
        compare(setting, report, sides, run, "reference compiled")


def compare(setting: Setting, report: Report, sides: dict[str, Pass], run: Run, rival: str) -> None:
    """Passes of all sides by turns, after one of each that warms up, with one object and with eight."""
    for objects in setting.objects:
        where = f"beside the {rival}", f"{objects} objects"
        for name, side in sides.items():
            start = time.perf_counter()
            seconds(setting, side, objects, run)
            report(*where, "warming up", **{name: time.perf_counter() - start})
        passes = [
            {name: seconds(setting, side, objects, run) for name, side in sides.items()} for _ in range(run.passes)
        ]
        for name in sides:
            ratio = spread([each[rival] / each[name] for each in passes])
            report(*where, name, seconds=spread([each[name] for each in passes]), times_rival=ratio)


def seconds(setting: Setting, side: Pass, objects: int, run: Run) -> float:
    """Of a frame, once the memory is full."""
    stamps = [time.perf_counter()]
    for _ in side(objects):
        stamps.append(time.perf_counter())
    setting.wait()
    return (time.perf_counter() - stamps[run.filling]) / (len(stamps) - 1 - run.filling)


def track(model: Model, clip: Held, objects: int) -> Iterator[None]:
    for _ in track_frames(clip, clicks(objects, clip.info), model=model):  # type: ignore[arg-type]
        yield


class Reference:
    """The reference, whose pictures are decoded, resized and on the device before the clock starts."""

    def __init__(self, setting: Setting, predictor: Any, folder: str, clip: Held) -> None:
        self._setting, self._predictor, self._clip = setting, predictor, clip
        with torch.inference_mode(), half(setting.device, setting.dtype):
            self._state = predictor.init_state(folder)

    def track(self, objects: int) -> Iterator[None]:
        predictor, state = self._predictor, self._state
        with torch.inference_mode(), half(self._setting.device, self._setting.dtype):
            predictor.reset_state(state)
            for click in clicks(objects, self._clip.info):
                where = np.array([[click.x, click.y]], np.float32)
                predictor.add_new_points_or_box(state, 0, click.name, points=where, labels=np.array([1], np.int32))
            for _, _, logits in predictor.propagate_in_video(state):
                (logits[:, 0] > 0).cpu().numpy()
                yield
