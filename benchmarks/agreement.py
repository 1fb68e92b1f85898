"""How far the masks of one way to run `nano` agree with those of careful float32, frame by frame.

    python -m benchmarks.agreement --data ../shared/data/davis-dev --compile --json out.json

`--data` holds folders with `frames` (JPEG) and `masks` (indexed PNG); those with one object are tracked from their
first mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.common import without_tiles, write
from trackmatte.io.decode import open_clip
from trackmatte.tracker.model import Model, load_model
from trackmatte.tracker.propagate import Propagator
from trackmatte.types import BoolArray, Mask


def track(model: Model, frames: Path, first: BoolArray) -> BoolArray:
    """(T, H, W)."""
    with open_clip(str(frames)) as clip:
        tracker = Propagator(model, height=clip.info.height, width=clip.info.width)
        tracker.seed([Mask(first)])
        return np.stack([tracker.step(frame).masks[0] for frame in clip])


def least_iou(masks: BoolArray, others: BoolArray) -> dict[str, float]:
    """Of all frames, and which it is; 1 where both are empty."""
    both, either = (masks & others).sum(axis=(1, 2)), (masks | others).sum(axis=(1, 2))
    iou = np.where(either, both / np.maximum(either, 1), 1.0)
    return {"least": float(iou.min()), "frame": int(iou.argmin()), "frames": len(iou)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--without-tiles", action="store_true", help="compiled as on a CPU without AMX")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.without_tiles:
        without_tiles()
    careful = load_model(device="cpu", precision="fp32")
    model = load_model(device="cpu", precision=options.precision, compile=options.compile)
    results = {}
    for folder in sorted(path.parent for path in options.data.glob("*/masks")):
        indices = np.array(Image.open(min((folder / "masks").glob("*.png"))))
        if len(set(np.unique(indices)) - {0}) == 1:
            masks = [track(each, folder / "frames", indices > 0) for each in (model, careful)]
            results[folder.name] = least_iou(*masks)
            print(folder.name, results[folder.name], flush=True)
    print(f"least of all: {min(row['least'] for row in results.values()):.4f}")
    write(options.json, torch.device("cpu"), {"precision": options.precision, "compile": options.compile, **results})


if __name__ == "__main__":
    main()
