"""Frames a second of the whole job, decode, track, write a matte, at three sizes; and of decoding alone."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import av

from benchmarks.common import CLIP, spread
from benchmarks.endtoend import Intervals
from benchmarks.endtoend import measure as measure_job
from benchmarks.gpu.runner import Report
from benchmarks.gpu.setting import Setting, clicks, load
from trackmatte.io.decode import open_clip
from trackmatte.io.prefetch import prefetch

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}


def measure(setting: Setting, report: Report) -> None:
    names = ("nano", "sam2.1-tiny")
    models = {name: load(setting.spec(name), setting.device, setting.dtype, careful=False) for name in names}
    sizes = {"small": (320, 180)} if setting.smoke else SIZES
    with tempfile.TemporaryDirectory() as folder:
        for size, pixels in sizes.items():
            clip = scaled(Path(folder) / f"{size}.mp4", *pixels, frames=setting.many(132, 6))
            report(size, decode_alone=decoding(clip))
            with open_clip(clip) as reader:
                click = clicks(1, reader.info)[0]
            for name, model in models.items():
                passes = [measure_job(model, clip, Intervals(), click) for _ in range(setting.many(3, 2))][1:]
                report(size, name, frames_a_second=spread([each["frames a second"] for each in passes]))


def decoding(clip: Path) -> float:
    """Frames a second."""
    with open_clip(clip) as reader, prefetch(reader) as frames:
        start = time.perf_counter()
        count = sum(1 for _ in frames)
        return count / (time.perf_counter() - start)


def scaled(path: Path, width: int, height: int, *, frames: int) -> Path:
    """The beginning of the sample in another size."""
    with av.open(str(CLIP)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=source.streams.video[0].average_rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "20"}
        for frame, _ in zip(source.decode(video=0), range(frames), strict=False):
            target.mux(stream.encode(frame.reformat(width, height)))
        target.mux(stream.encode(None))
    return path
