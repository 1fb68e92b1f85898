"""Whether a device gives the masks and logits that the careful CPU path and the reference give."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.agreement import least_iou, track
from benchmarks.gpu.runner import Report
from benchmarks.gpu.setting import Held, Setting, as_jpegs, clicks, load, reference
from tests.parity.float32_memory import keep_float32
from tests.parity.reference import Clip, run_reference
from trackmatte.tracker.model import Model
from trackmatte.tracker.propagate import PropagateOptions, Propagator
from trackmatte.tracker.registry import ModelSpec, find_spec
from trackmatte.types import BoolArray

TOLERANCE, IOU = 1e-3, 0.99
CPU = torch.device("cpu")
WAYS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": torch.float32},
    "bf16": {"dtype": torch.bfloat16},
    "fp16": {"dtype": torch.float16},
    "fp32 compiled": {"dtype": torch.float32, "compile": True},
    "bf16 compiled": {"dtype": torch.bfloat16, "compile": True},
    "fp16 compiled": {"dtype": torch.float16, "compile": True},
}


def measure(setting: Setting, report: Report) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder:
        clip = as_jpegs(setting.many(40, 3), Path(folder))
        nano(setting, report, clip)
        for name, frames in (("sam2.1-tiny", setting.many(6, 2)), ("sam2.1-large", setting.many(3, 2))):
            in_float32(report, setting.spec(name), setting.device, Held(clip.info, clip.frames[:frames]), name)
        for memory, context in memories():
            with context:
                apart = beside_reference(setting.spec("nano"), setting.device, clip, Path(folder))
            report("nano beside the reference", f"memory in {memory}", **logits_within(apart))
    if setting.data:
        given(setting, report, setting.data)


def nano(setting: Setting, report: Report, clip: Held) -> None:
    """On the sample: logits in float32, masks in the others, against careful float32 on the CPU."""
    spec = setting.spec("nano")
    expected, masks = follow(load(spec, CPU, torch.float32), clip)
    for name, how in WAYS.items():
        logits, found = follow(load(spec, setting.device, **how), clip)
        iou = least_iou(found, masks)
        apart = largest(logits, expected)
        report("nano", name, **iou, logits_apart=apart, holds=iou["least"] >= IOU)
    in_float32(report, spec, setting.device, clip, "nano")


def in_float32(report: Report, spec: ModelSpec, device: torch.device, clip: Held, name: str) -> None:
    """Logits, with memory in float32 and as it is rounded, against those of the careful CPU path."""
    for memory, context in memories():
        with context:
            models = [load(spec, where, torch.float32) for where in (device, CPU)]
            found, expected = (follow(model, clip)[0] for model in models)
        report(name, f"fp32, memory in {memory}", **logits_within(largest(found, expected)), frames=len(found))


def given(setting: Setting, report: Report, data: Path) -> None:
    """Masks of `nano` on clips from outside, each from its first mask."""
    spec = find_spec("nano")
    ways = {name: load(spec, setting.device, **WAYS[name]) for name in ("fp32", "bf16", "fp16", "bf16 compiled")}
    careful = load(spec, CPU, torch.float32)
    for folder in sorted(path.parent for path in data.glob("*/masks")):
        indices = np.array(Image.open(min((folder / "masks").glob("*.png"))))
        if len(set(np.unique(indices)) - {0}) == 1:
            masks = track(careful, folder / "frames", indices > 0)
            for name, model in ways.items():
                iou = least_iou(track(model, folder / "frames", indices > 0), masks)
                report("nano on given clips", folder.name, name, **iou, holds=iou["least"] >= IOU)


def follow(model: Model, clip: Held) -> tuple[list[torch.Tensor], BoolArray]:
    """Logits by frame on the CPU, and masks (T, H, W), of one object."""
    options = PropagateOptions(clip_frames=len(clip.frames))
    tracker = Propagator(model, height=clip.info.height, width=clip.info.width, options=options)
    tracker.seed(clicks(1, clip.info))
    logits, masks = [], []
    for frame in clip:
        prediction = tracker.advance(frame)
        logits.append(prediction.decoded.logits.float().cpu())
        masks.append(tracker.masks(frame, prediction).masks[0])
    return logits, np.stack(masks)


def beside_reference(spec: ModelSpec, device: torch.device, clip: Held, folder: Path) -> float:
    """The largest difference of logits between ours and SAM2VideoPredictor, both on the device in float32."""
    found, _ = follow(load(spec, device, torch.float32), clip)
    theirs = run_reference(reference(spec, device), Clip(folder, clip.frames, []), {0: clicks(1, clip.info)})
    return largest(found, [expected["1"].logits.float().cpu() for expected, _ in theirs])


@contextmanager
def float32_memory() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        keep_float32(patch)
        yield


def memories() -> tuple[tuple[str, Any], ...]:
    return ("float32", float32_memory()), ("bfloat16", nullcontext())


def largest(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return max((its - other).abs().max().item() for its, other in zip(found, expected, strict=True))


def logits_within(apart: float) -> dict[str, Any]:
    return {"logits_apart": apart, "holds": apart < TOLERANCE}
