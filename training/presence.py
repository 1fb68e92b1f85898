"""Does it say when it is lost: `python -m training.presence`.

Tracks the first object of held-out composites, which leaves the picture and in most clips comes back, from its true
first mask, with the package's own tracker, and compares `present` with the truth. Frames in which less than a fifth of
what was first seen is visible, but something, are not counted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

import trackmatte as tm
from trackmatte.tracker.model import Model
from trackmatte.tracker.propagate import Propagator
from trackmatte.types import Frame
from training.composite import Clip, Scene
from training.data import DATA
from training.types import Array

FAINT = 0.2  # of the first frame's area


@dataclass(frozen=True)
class Presence:
    """One clip, the frames after the first: (T - 1,) bool each, and (T - 1,) IoU where the object is there."""

    there: Array
    gone: Array
    said: Array
    iou: Array


def follow(model: Model, clip: Clip) -> Presence:
    truth = clip.masks[:, 0]
    height, width = truth.shape[1:]
    propagator = Propagator(model, height=height, width=width, names=["target"])
    propagator.seed([tm.Mask(truth[0], name="target")])
    said, iou = [], []
    for index, image in enumerate(clip.frames):
        frame = Frame(index, index, Fraction(1, 25), np.ascontiguousarray(image))
        result = propagator.step(frame, propagator.prepare(frame))
        said.append(bool(result.present[0]))
        union = (result.masks[0] | truth[index]).sum()
        iou.append((result.masks[0] & truth[index]).sum() / max(union, 1))
    area = truth.sum((1, 2)) / truth[0].sum()
    return Presence(area[1:] > FAINT, area[1:] == 0, np.array(said[1:]), np.array(iou[1:]))


def waits(states: Array, answers: Array) -> list[int]:
    """For each run of frames in which `states` holds, after how many the answer is right; its length if never."""
    out = []
    starts = [t for t in np.flatnonzero(states) if t == 0 or not states[t - 1]]
    for start in starts:
        end = start
        while end < len(states) and states[end]:
            end += 1
        right = np.flatnonzero(answers[start:end])
        out.append(int(right[0]) if len(right) else end - start)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, default=384, help="of the clips' square pictures")
    parser.add_argument("--checkpoint", type=Path, help="default: the weights of the package")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    model = tm.load_model("nano", checkpoint=options.checkpoint)
    scene = Scene(DATA, 7, held_out=True, leaving=1.0)
    clips = [follow(model, scene.clip(options.frames, options.size)) for _ in range(options.clips)]
    there, gone, said, iou = (
        np.concatenate([getattr(c, key) for c in clips]) for key in ("there", "gone", "said", "iou")
    )
    counted = there | gone
    print(f"{options.clips} clips of {options.frames} frames: visible in {there.sum()} frames, gone in {gone.sum()}")
    print(
        f"present: precision {100 * (said & there).sum() / max((said & counted).sum(), 1):.1f}, "
        f"recall {100 * (said & there).sum() / max(there.sum(), 1):.1f}"
    )
    print(
        f"absent: precision {100 * (~said & gone).sum() / max((~said & counted).sum(), 1):.1f}, "
        f"recall {100 * (~said & gone).sum() / max(gone.sum(), 1):.1f}"
    )
    leaving = [wait for c in clips for wait in waits(c.gone, ~c.said)]
    back = [wait for c in clips for wait in waits(c.there, c.said & (c.iou > 0.5))[int(c.there[0]) :]]
    for what, frames in (("gone until said", leaving), ("back until found at an IoU of 0.5", back)):
        if frames:
            print(f"{what}: median {np.median(frames):.0f} frames, nine in ten within {np.quantile(frames, 0.9):.0f}")
    print(f"IoU where it is visible: {100 * iou[there].mean():.1f}")


if __name__ == "__main__":
    main()
