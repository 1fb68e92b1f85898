"""What corrections are worth: `python -m benchmarks.interactive --data ../shared/data/davis-dev`.

Two tables, for each way in which later seeds are remembered (`PropagateOptions.seeds` and `forget`):

- J at a corrected frame and 1, 5, 11 and 20 frames after it, where the true mask is given, or a click in the middle of
  the largest wrong region; beside it what an untouched run and a fresh start from the true mask give there.
- J and J&F after 1, 2, 3, 5 and 8 clicked frames, as the SAM 2 paper evaluates (arXiv 2408.00714, section 6.1): track,
  look for the frame of the lowest J, click there in the middle of its largest wrong region, track again.

A sequence is a folder NAME/{frames,masks} in DAVIS's form; all its objects count as one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trackmatte.evaluation import boundary_f, region_similarity
from trackmatte.io.decode import open_clip
from trackmatte.tracker.model import Model, load_model
from trackmatte.tracker.network import ImageFeatures
from trackmatte.tracker.propagate import PropagateOptions, Propagator
from trackmatte.types import BoolArray, Frame, Mask, Point, Prompt
from training.prompts import centre

WAYS = {
    "memory": PropagateOptions(seeds="memory"),
    "pinned": PropagateOptions(seeds="pinned"),
    "pinned, forget": PropagateOptions(seeds="pinned", forget=True),
}
DISTANCES = (0, 1, 5, 11, 20)
ROUNDS = (1, 2, 3, 5, 8)
Seeds = dict[int, list[Prompt]]


@dataclass(frozen=True)
class Clip:
    """A clip with what the network sees in each frame, and the truth."""

    name: str
    frames: list[Frame]
    images: list[ImageFeatures]
    truth: list[BoolArray]

    @staticmethod
    def load(folder: Path, model: Model) -> Clip:
        with open_clip(folder / "frames") as clip:
            frames = list(clip)
        tracker = Propagator(model, height=frames[0].height, width=frames[0].width)
        truth = [np.array(Image.open(path)) > 0 for path in sorted((folder / "masks").glob("*.png"))]
        return Clip(folder.name, frames, [tracker.prepare(frame) for frame in frames], truth)


def track(model: Model, clip: Clip, seeds: Seeds, options: PropagateOptions, *, end: int | None = None) -> list[Any]:
    """The masks from the first seed on; None before."""
    tracker = Propagator(model, height=clip.frames[0].height, width=clip.frames[0].width, options=options)
    first = min(seeds)
    masks: list[Any] = [None] * first
    for frame, image in list(zip(clip.frames, clip.images, strict=True))[first:end]:
        tracker.seed(seeds.get(frame.index, []))
        masks.append(tracker.step(frame, image).masks[0])
    return masks


def correction(predicted: BoolArray, truth: BoolArray) -> Point:
    """A click in the middle of the larger kind of error's largest region."""
    missed, extra = truth & ~predicted, predicted & ~truth
    regions = [(error, positive) for error, positive in ((missed, True), (extra, False)) if error.any()]
    middles = [(depth(error), error, positive) for error, positive in regions or [(truth, True)]]
    _, error, positive = max(middles, key=lambda one: one[0])
    x, y = centre(error)
    return Point(x + 0.5, y + 0.5, positive)


def depth(mask: BoolArray) -> float:
    """How far the middle of a region is from its border, in pixels."""
    import cv2

    return float(cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3).max())


def click(mask: BoolArray) -> Point:
    x, y = centre(mask)
    return Point(x + 0.5, y + 0.5)


def after_a_correction(model: Model, clip: Clip, at: int) -> dict[str, list[float]]:
    """J at the corrected frame and after it, in percent, by what was done."""
    start: Seeds = {0: [click(clip.truth[0])]}
    end = at + max(DISTANCES) + 1

    def scores(masks: list[Any]) -> list[float]:
        return [100 * region_similarity(masks[at + d], clip.truth[at + d]) for d in DISTANCES]

    untouched = track(model, clip, start, WAYS["memory"], end=end)
    mask: Seeds = {at: [Mask(clip.truth[at])]}
    rows = {"untouched": scores(untouched), "fresh start": scores(track(model, clip, mask, WAYS["memory"], end=end))}
    clicked: Seeds = {at: [correction(untouched[at], clip.truth[at])]}
    for name, options in WAYS.items():
        rows[f"mask, {name}"] = scores(track(model, clip, start | mask, options, end=end))
        rows[f"click, {name}"] = scores(track(model, clip, start | clicked, options, end=end))
    return rows


def by_rounds(model: Model, clip: Clip, options: PropagateOptions, rounds: Sequence[int]) -> list[list[float]]:
    """[J, J&F] in percent after each number of clicked frames, first and last frame left out."""
    seeds: Seeds = {0: [click(clip.truth[0])]}
    rows = []
    for count in range(1, max(rounds) + 1):
        masks = track(model, clip, seeds, options)
        j = [region_similarity(mask, true) for mask, true in zip(masks, clip.truth, strict=True)]
        if count in rounds:
            f = [boundary_f(mask, true) for mask, true in zip(masks[1:-1], clip.truth[1:-1], strict=True)]
            mean = float(np.mean(j[1:-1]))
            rows.append([100 * mean, 50 * (mean + float(np.mean(f)))])
        worst = int(np.argmin(j))
        seeds.setdefault(worst, []).append(correction(masks[worst], clip.truth[worst]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sequences", nargs="*", default=[])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument(
        "--rounds", nargs="*", type=int, default=list(ROUNDS), help="numbers of clicked frames; none: skip"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.model, checkpoint=arguments.checkpoint)
    names = arguments.sequences or sorted(path.name for path in arguments.data.iterdir() if (path / "frames").is_dir())
    corrected: dict[str, list[list[float]]] = {}
    rounds: dict[str, list[list[list[float]]]] = {}
    for name in names:
        clip = Clip.load(arguments.data / name, model)
        for at in (len(clip.frames) // 3, len(clip.frames) // 2):
            if at + max(DISTANCES) < len(clip.frames):
                for row, scores in after_a_correction(model, clip, at).items():
                    corrected.setdefault(row, []).append(scores)
        if arguments.rounds:
            for way, options in WAYS.items():
                rounds.setdefault(way, []).append(by_rounds(model, clip, options, arguments.rounds))
        print(name, "done", flush=True)
    means = {row: np.mean(scores, axis=0).round(1).tolist() for row, scores in corrected.items()}
    print(f"{'J':22}" + "".join(f"{'t+' + str(d) if d else 't':>7}" for d in DISTANCES))
    for row, scores in means.items():
        print(f"{row:22}" + "".join(f"{score:7.1f}" for score in scores))
    tables = {way: np.mean(scores, axis=0).round(1).tolist() for way, scores in rounds.items()}
    if tables:
        print(f"{'J&F after clicks':22}" + "".join(f"{count:7}" for count in arguments.rounds))
        for way, scores in tables.items():
            print(f"{way:22}" + "".join(f"{score[1]:7.1f}" for score in scores))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"corrected": means, "rounds": tables, "sequences": names}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
