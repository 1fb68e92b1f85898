"""Seconds from nothing to the first mask: eager, compiled for the first time, and with what that left in a cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from benchmarks.gpu.runner import Report
from benchmarks.gpu.setting import Setting, state_of
from trackmatte.tracker.registry import find_spec


def measure(setting: Setting, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "tiny.safetensors"
        jobs: dict[str, list[str]] = {"nano": ["--model", "nano"]}
        if not setting.smoke:
            save_file(state_of(find_spec("sam2.1-tiny")), checkpoint)
            jobs["sam2.1-tiny"] = ["--model", "sam2.1-tiny", "--checkpoint", str(checkpoint)]
        for name, model in jobs.items():
            ways = {} if setting.smoke else {"eager": "no"}
            ways |= {"compiled, cold": "yes", "compiled, warm": "yes"}
            for way, compile in ways.items():
                command = [*model, "--device", setting.device.type, "--here", compile]
                report(name, way, **steps(command, Path(folder) / f"cache-{name}"))


def steps(arguments: list[str], cache: Path) -> dict[str, float]:
    """What `benchmarks.start` measures in a process of its own, whose compilers keep what they make in `cache`."""
    caches = {name: str(cache / name) for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME")}
    command = [sys.executable, "-m", "benchmarks.start", *arguments]
    done = subprocess.run(command, env=os.environ | caches, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-1500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
