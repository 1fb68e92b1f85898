"""Where a frame's time goes on the device: its longest kernels, and when none runs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.runner import Report
from benchmarks.gpu.setting import Held, Setting, clicks, held, load
from trackmatte.pipeline import track_frames
from trackmatte.tracker.model import Model

LONGEST = 15


def measure(setting: Setting, report: Report) -> None:
    filling, frames = setting.many(20, 2), setting.many(20, 2)
    clip = held(filling + frames)
    for compile in (False,) if setting.smoke else (False, True):
        model = load(setting.spec("sam2.1-tiny"), setting.device, setting.dtype, careful=False, compile=compile)
        for objects in setting.objects:
            name = f"sam2.1-tiny{' compiled' if compile else ''}, {objects} objects"
            report(name, **summary(events(setting, model, clip, objects, filling), frames))


def events(setting: Setting, model: Model, clip: Held, objects: int, filling: int) -> list[Any]:
    """Kernels in the order of their start, of all frames after those that fill the memory."""
    results = track_frames(clip, clicks(objects, clip.info), model=model)  # type: ignore[arg-type]
    exhaust(itertools.islice(results, filling))
    setting.wait()
    on_device = setting.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    with profile(activities=activities) as profiler:
        exhaust(results)
        setting.wait()
    kind = DeviceType.CUDA if on_device else DeviceType.CPU
    found = [event for event in profiler.events() or () if event.device_type == kind]
    found = found if on_device else [event for event in found if not event.cpu_children]
    return sorted(found, key=lambda event: event.time_range.start)


def summary(kernels: list[Any], frames: int) -> dict[str, Any]:
    """Microseconds and numbers of a frame."""
    time: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, int] = defaultdict(int)
    for kernel in kernels:
        time[kernel.name] += kernel.time_range.elapsed_us() / frames
        calls[kernel.name] += 1
    pauses = list(gaps(kernels))
    span = max(k.time_range.end for k in kernels) - kernels[0].time_range.start
    idle = sum(length for length, _, _ in pauses)
    return {
        "frame_us": span / frames,
        "idle_share": idle / span,
        "kernels": len(kernels) / frames,
        "longest": [
            {"name": name[:160], "us": round(us, 1), "calls": calls[name] / frames}
            for name, us in sorted(time.items(), key=lambda item: -item[1])[:LONGEST]
        ],
        "gaps": [
            {"us": round(us, 1), "after": before[:80], "before": after[:80]}
            for us, before, after in sorted(pauses, reverse=True)[:LONGEST]
        ],
    }


def gaps(kernels: list[Any]) -> Iterator[tuple[float, str, str]]:
    """Times in which nothing ran: microseconds, the last kernel before and the first one after."""
    last = kernels[0]
    for kernel in kernels[1:]:
        if kernel.time_range.start > last.time_range.end:
            yield kernel.time_range.start - last.time_range.end, last.name, kernel.name
        last = max(last, kernel, key=lambda each: each.time_range.end)


def exhaust(items: Iterator[object]) -> None:
    for _ in items:
        pass
