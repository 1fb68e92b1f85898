"""Whether memory stops growing: of the device and of the process, with eight objects."""

from __future__ import annotations

import itertools
import resource

import torch

from benchmarks.gpu.runner import Report
from benchmarks.gpu.setting import Held, Setting, clicks, held, load
from trackmatte.pipeline import track_frames

MEGABYTE = 2**20
ALLOWED = 8 * MEGABYTE  # that the device's memory may differ by between the two frames


def measure(setting: Setting, report: Report) -> None:
    early, late = setting.many(50, 3), setting.many(500, 6)
    few = held(setting.many(32, 3))
    model = load(setting.spec("sam2.1-tiny"), setting.device, setting.dtype, careful=False)
    clip = Held(few.info, [frame for frame, _ in zip(itertools.cycle(few.frames), range(late), strict=False)])
    used = {}
    for number, _ in enumerate(track_frames(clip, clicks(8, clip.info), model=model), start=1):  # type: ignore[arg-type]
        if number in (early, late):
            used[number] = memory(setting)
            report(f"frame {number}", **used[number])
    grown = used[late]["device_mb"] - used[early]["device_mb"]
    report(grown_mb=grown, holds=grown * MEGABYTE < ALLOWED)


def memory(setting: Setting) -> dict[str, float]:
    """Megabytes; of the device what tensors hold, at most until now, and what torch has reserved."""
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if setting.device.type != "cuda":
        return {"device_mb": 0.0, "process_mb": process}
    return {
        "device_mb": torch.cuda.memory_allocated() / MEGABYTE,
        "device_most_mb": torch.cuda.max_memory_allocated() / MEGABYTE,
        "device_reserved_mb": torch.cuda.memory_reserved() / MEGABYTE,
        "process_mb": process,
    }
