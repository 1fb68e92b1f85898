"""What the benchmarks share: the machine, medians, weights."""

from __future__ import annotations

import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import torch

import trackmatte.kernels.native.build as native
from trackmatte.tracker.architecture import build, read_config
from trackmatte.tracker.registry import ModelSpec
from trackmatte.tracker.weights import State, locate, read_state

CLIP = Path(__file__).parent.parent / "samples" / "bunny.mp4"


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def shown(row: dict[str, float], scale: float = 1.0, digits: int = 2) -> str:
    """A `spread` as text."""
    median, least, most = (f"{scale * row[key]:.{digits}f}" for key in ("median", "least", "most"))
    return f"{median} ({least} to {most})"


def weights(spec: ModelSpec, *, random: bool) -> State:
    """The model's own weights, or the network's own start; what they are does not change how long a frame takes."""
    if not random:
        return read_state(locate(spec))
    torch.manual_seed(0)
    state: State = build(read_config(spec.config)).state_dict()
    return state


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16 instructions": torch.cpu._is_avx512_bf16_supported(),
        "matrix instructions": torch.cpu._is_amx_tile_supported(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def without_tiles() -> None:
    """From now on as on a CPU that has none."""
    here = native.engines()
    native.engines = lambda: tuple(engine for engine in here if not engine.endswith("tiles"))


def write(path: Path | None, device: torch.device, results: Any) -> None:
    """The results as JSON with the machine, where a file was asked for."""
    if path is not None:
        replace_text(path, json.dumps({"machine": machine(device), "results": results}, indent=1) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Writes a file, which is there as it was or as a whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)
