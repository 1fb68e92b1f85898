"""Seconds from nothing to the first mask, each in a process of its own: eager, and compiled with a warm cache.

    python -m benchmarks.start --model nano --json out.json
    python -m benchmarks.start --model sam2.1-tiny --checkpoint FILE --device cuda

See benchmarks/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

CLIP = Path(__file__).parent.parent / "samples" / "bunny.mp4"
STEPS = ("import", "load", "first mask", "second mask")


def steps(model: str, clip: Path, compile: bool, device: str, checkpoint: str | None) -> dict[str, float]:
    """Seconds of each step in this process, which must be a fresh one."""
    times = [time.perf_counter()]
    from trackmatte.io.decode import open_clip
    from trackmatte.tracker.model import load_model
    from trackmatte.tracker.propagate import Propagator
    from trackmatte.types import Point

    times.append(time.perf_counter())
    loaded = load_model(model, checkpoint=checkpoint, device=device, compile=compile)
    times.append(time.perf_counter())
    with open_clip(clip) as reader:
        tracker = Propagator(loaded, height=reader.info.height, width=reader.info.width)
        tracker.seed([Point(reader.info.width / 2, reader.info.height / 2)])
        for frame, _ in zip(reader, range(2), strict=False):
            tracker.step(frame)
            times.append(time.perf_counter())
    return {step: after - before for step, before, after in zip(STEPS, times, times[1:], strict=False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--checkpoint", help="weights to use instead of the model's own")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--compile", nargs="*", default=["no", "yes"], choices=["no", "yes"])
    parser.add_argument("--here", choices=["no", "yes"], help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.here:
        found = steps(options.model, options.clip, options.here == "yes", options.device, options.checkpoint)
        print(json.dumps(found))
        return
    compare(options)


def compare(options: argparse.Namespace) -> None:
    """Runs every step in fresh processes, once to warm caches and then `runs` times."""
    import torch

    from benchmarks.common import shown, spread, write

    results = []
    for compile in options.compile:
        command = [sys.executable, "-m", "benchmarks.start", "--model", options.model, "--clip", str(options.clip)]
        command += ["--device", options.device]
        command += ["--checkpoint", options.checkpoint] if options.checkpoint else []
        runs = [
            json.loads(subprocess.run([*command, "--here", compile], check=True, capture_output=True, text=True).stdout)
            for _ in range(options.runs + 1)
        ][1:]
        results.append({"model": options.model, "compiled": compile == "yes", "runs": options.runs})
        results[-1] |= {step: spread([run[step] for run in runs]) for step in STEPS}
        print(f"{options.model}, {'compiled, cache warm' if compile == 'yes' else 'eager'}")
        for step in STEPS:
            print(f"  {step:14}{shown(results[-1][step])}", flush=True)
    write(options.json, torch.device(options.device), results)


if __name__ == "__main__":
    main()
