"""The stages of the training, and the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """`steps` steps at one picture size, of `clips` clips of `frames` frames.

    Each step also makes `still_updates` updates on `stills` single frames of the clips.

    `rate` is the learning rate at the stage's start; it falls to the next stage's as a cosine (the last: to nearly 0).
    `thaw`: from which of the trunk's seven stages on it is trained too (7: frozen), at `thaw_rate` times the rate.
    """

    size: int
    frames: int
    clips: int
    steps: int
    rate: float
    stills: int = 10
    still_updates: int = 1
    thaw: int = 7
    true_presence: float = 0.1
    odds: tuple[float, float, float] = (0.46, 0.28, 0.26)  # of mask, box and click prompts


FIRST = (
    Stage(
        size=128, frames=2, clips=8, steps=150, rate=1.2e-3, still_updates=0, true_presence=1.0, odds=(0.9, 0.05, 0.05)
    ),
    Stage(size=128, frames=4, clips=4, steps=350, rate=1.2e-3, odds=(0.6, 0.2, 0.2)),
    Stage(size=128, frames=4, clips=4, steps=200, rate=1e-3),
    Stage(size=192, frames=5, clips=4, steps=200, rate=8e-4),
    Stage(size=192, frames=8, clips=3, steps=180, rate=6e-4, still_updates=3),
    Stage(size=256, frames=8, clips=2, steps=60, rate=3e-4, still_updates=3),
    Stage(size=192, frames=8, clips=3, steps=130, rate=4e-4, still_updates=5),
    Stage(size=256, frames=8, clips=2, steps=40, rate=2e-4, still_updates=5),
)
FURTHER = (
    Stage(size=256, frames=8, clips=2, steps=380, rate=3e-4, still_updates=4, thaw=3),
    Stage(size=384, frames=6, clips=2, steps=250, rate=2e-4, stills=7, still_updates=4, thaw=3),
)
LAST = (
    Stage(size=416, frames=6, clips=2, steps=280, rate=1.8e-4, stills=7, still_updates=4, thaw=3),
    Stage(size=416, frames=8, clips=2, steps=165, rate=1.1e-4, stills=7, still_updates=4, thaw=3),
)
PLANS = {"first": FIRST, "further": FURTHER, "last": LAST}
WARM_UP = 60
THAW_RATE = 0.1


@dataclass(frozen=True)
class Moment:
    """Where a step lies: its stage, and the learning rate there."""

    stage: Stage
    rate: float


def moment(plan: tuple[Stage, ...], step: int) -> Moment:
    """The stage and rate of `step`; the last stage's where the plan is over."""
    first = step
    for index, stage in enumerate(plan):
        if first < stage.steps or index == len(plan) - 1:
            end = plan[index + 1].rate if index + 1 < len(plan) else 0.02 * stage.rate
            progress = min(1.0, first / stage.steps)
            rate = end + (stage.rate - end) * 0.5 * (1 + math.cos(math.pi * progress))
            return Moment(stage, rate * min(1.0, (step + 1) / WARM_UP))
        first -= stage.steps
    raise ValueError("the plan has no stages")


def total_steps(plan: tuple[Stage, ...]) -> int:
    return sum(stage.steps for stage in plan)
