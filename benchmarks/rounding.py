"""How much 8-bit integers and float16 change what the network sees and remembers, beside the same mode in float32.

    python -m benchmarks.rounding --model sam2.1-tiny --random --json out.json

Given are relative differences, root mean square: of image features of a frame that layers did not settle on, of what
memory attention makes of the same frame and memory, and of the memory of the same frame and masks.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import CLIP, weights, without_tiles, write
from trackmatte.io.decode import open_clip
from trackmatte.tracker.model import Model, open_model
from trackmatte.tracker.propagate import Propagator
from trackmatte.tracker.registry import ModelSpec, find_spec
from trackmatte.tracker.weights import State
from trackmatte.types import Point

CPU = torch.device("cpu")


MODES = ("fast", "compiled", "compiled, fast", "compiled, bfloat16")


def pair(spec: ModelSpec, state: State, mode: str) -> tuple[Model, Model]:
    """In float32, and in the mode's own format."""
    speed = "fast" if "fast" in mode else "exact"
    how: dict[str, Any] = {"source": "weights", "device": CPU, "careful": False, "speed": speed}
    half = torch.bfloat16 if "bfloat16" in mode else torch.float16
    compiled: dict[str, Any] = {"dtype": half, "compile": True} if "compiled" in mode else {"dtype": torch.float32}
    return (
        open_model(replace(spec, int8=False), state, dtype=torch.float32, **how),
        open_model(replace(spec, int8=True), state, **compiled, **how),
    )


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@torch.inference_mode()
def measure(plain: Model, rounding: Model, frames: int) -> dict[str, float]:
    """Both models over the frames; compared at the last of them."""
    parts = {"with memory": "memory_attention", "memory": "memory_encoder"}
    inputs: dict[str, tuple[Any, ...]] = {}

    def note(name: str, module: object, given: tuple[Any, ...]) -> None:
        inputs[name] = given

    for name in parts.values():
        getattr(plain.network._modules, name).register_forward_pre_hook(partial(note, name))
    with open_clip(CLIP) as clip:
        tracker, other = (
            Propagator(model, height=clip.info.height, width=clip.info.width) for model in (plain, rounding)
        )
        for tracked in (tracker, other):
            tracked.seed([Point(370, 420)])
        for frame, _ in zip(clip, range(frames), strict=False):
            tracker.step(frame)
            other.step(frame)
        levels = [(image.top, *image.fine) for image in (other.prepare(frame), tracker.prepare(frame))]
    names = ("top", "fine, a quarter", "fine, an eighth")
    results = {name: difference(*pair) for name, pair in zip(names, zip(*levels, strict=True), strict=True)}
    for row, name in parts.items():
        found, expected = (getattr(each.network._modules, name)(*inputs[name]) for each in (rounding, plain))
        results[row] = difference(found, expected)
    return results


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sam2.1-tiny")
    parser.add_argument("--random", action="store_true", help="random weights: needs no checkpoint")
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--without-tiles", action="store_true", help="compiled as on a CPU without AMX")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.without_tiles:
        without_tiles()
    spec = find_spec(options.model)
    state = weights(spec, random=options.random)
    results = {mode: measure(*pair(spec, state, mode), options.frames) for mode in options.modes}
    for mode, rows in results.items():
        print(mode)
        for name, value in rows.items():
            print(f"  {name:20}{100 * value:.2f} %")
    write(options.json, CPU, results)


if __name__ == "__main__":
    main()
