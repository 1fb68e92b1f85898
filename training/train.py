"""Train `nano`: `python -m training.train --run NAME`.

Goes on from `training/runs/NAME/last.pt` where that exists. Clips, prompts and choices depend on the seed and the step
alone, so that a run that was stopped and resumed is the run that was not.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from trackmatte.tracker.trunk import LITE0
from training import checkpoint
from training.composite import Clip, Scene
from training.data import DATA
from training.network import (
    AuxiliaryHeads,
    LevelNorm,
    TrunkPart,
    build,
    load_trunk,
    normalise,
    prime_matching,
    set_size,
)
from training.prompts import PromptKind
from training.rollout import Rollout, RolloutOptions, encode, in_chunks
from training.schedule import PLANS, THAW_RATE, Moment, Stage, moment, total_steps

RUNS = Path(__file__).parent / "runs"
PROMPTS: tuple[PromptKind, ...] = ("mask", "box", "click")


@dataclass(frozen=True)
class TrainOptions:
    run: str
    device: str = "cpu"
    threads: int = 1
    seed: int = 1
    objects: int = 2
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    average: float = 0.998
    compile: bool = True
    log_every: int = 20
    save_every: int = 20
    check_every: int = 1000
    start: Path | None = None


class Trainer:
    def __init__(self, options: TrainOptions, plan: tuple[Stage, ...]):
        self.options, self.plan = options, plan
        torch.manual_seed(options.seed)
        self.model = build(memory_temporal_stride_for_eval=1)  # clips are shorter than what it looks back on
        load_trunk(self.model, DATA / "efficientnet-lite0.pth")
        prime_matching(self.model)
        self.heads = AuxiliaryHeads(self.model)
        self.norm = LevelNorm(self.model.image_encoder.trunk.channel_list[::-1]).to(options.device)
        self.model.to(options.device)
        self.heads.to(options.device)
        self.average = checkpoint.Average(self.model, options.average)
        self.scene = Scene(DATA, options.seed)
        self.optimizer = self.make_optimizer()
        self.step = 0
        self.folder = RUNS / options.run
        self.frozen_parts: dict[int, Callable[[Tensor], tuple[Tensor, list[Tensor]]]] = {}
        self.resume()

    # set-up

    def make_optimizer(self) -> torch.optim.AdamW:
        trunk = list(self.model.image_encoder.trunk.parameters())
        known = {id(p) for p in trunk}
        rest = [p for p in (*self.model.parameters(), *self.heads.parameters()) if id(p) not in known]
        groups = [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": self.options.weight_decay, "scale": 1.0},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "scale": 1.0},
            {"params": trunk, "weight_decay": 0.0, "scale": THAW_RATE},
        ]
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=True)

    def resume(self) -> None:
        last = self.folder / "last.pt"
        if last.exists():
            state = checkpoint.load(last)
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.average.steps = state["step"], state["average_steps"]
        elif self.options.start and self.options.start.suffix == ".safetensors":
            self.model.load_state_dict(checkpoint.exported_weights(self.options.start), strict=False)
            self.measure_levels()
            self.model.load_state_dict(self.norm.unfold(self.model.state_dict()))
            self.average = checkpoint.Average(self.model, self.options.average)
            return
        elif self.options.start:
            state = checkpoint.load(self.options.start)
            self.optimizer.load_state_dict(state["optimizer"])  # its averages: without them a restart is a setback
        else:
            self.measure_levels()
            return
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.norm.load_state_dict(state["norm"])
        self.average.module.load_state_dict(state["average"])

    @torch.no_grad()
    def measure_levels(self) -> None:
        clips = [self.scene.clip(1, 192) for _ in range(48)]
        images = stack(clips, self.options.device)[:, 0]
        self.norm.measure(self.model.image_encoder.trunk(images))

    def save(self) -> None:
        checkpoint.save(
            self.folder / "last.pt",
            step=self.step,
            model=self.model.state_dict(),
            heads=self.heads.state_dict(),
            norm=self.norm.state_dict(),
            average=self.average.module.state_dict(),
            average_steps=self.average.steps,
            optimizer=self.optimizer.state_dict(),
        )

    def frozen_part(self, thaw: int) -> Callable[[Tensor], tuple[Tensor, list[Tensor]]]:
        """The trunk up to the first stage that is trained; compiled where that is wanted."""
        if thaw not in self.frozen_parts:
            part = TrunkPart(self.model.image_encoder.trunk, 0, thaw)
            self.frozen_parts[thaw] = torch.compile(part, dynamic=False) if self.options.compile else part
        return self.frozen_parts[thaw]

    # steps

    def run(self) -> None:
        last = total_steps(self.plan)
        log = Log(self, last)
        while self.step < last:
            now = moment(self.plan, self.step)
            rng = np.random.default_rng((self.options.seed, self.step))
            self.scene.rng = rng
            self.prepare(now)
            self.video_step(now, rng, log)
            self.step += 1
            if self.step % self.options.log_every == 0:
                log.write(now)
            if self.step % self.options.save_every == 0 or self.step == last:
                self.save()
            if self.step % self.options.check_every == 0:
                check(self.average.module, self.norm, now.stage.size)

    def prepare(self, now: Moment) -> None:
        set_size(self.model, now.stage.size)
        set_size(self.average.module, now.stage.size)
        for group in self.optimizer.param_groups:
            group["lr"] = now.rate * group["scale"]
        for index, stage in enumerate(self.model.image_encoder.trunk.stages):
            stage.requires_grad_(index >= now.stage.thaw)
        self.model.image_encoder.trunk.stem.requires_grad_(False)

    def video_step(self, now: Moment, rng: np.random.Generator, log: Log) -> None:
        """Updates on the same clips: forwards; backwards with other prompts and objects; on single frames of them."""
        stage = now.stage
        clips = [self.scene.clip(stage.frames, stage.size) for _ in range(stage.clips)]
        options = RolloutOptions(true_presence=stage.true_presence)
        levels = self.levels(clips, stage.thaw)
        for backwards in (False, True):
            kind = PROMPTS[rng.choice(3, p=stage.odds)]
            if backwards:
                flip = [bool(clip.backwards().seen_first()) for clip in clips]
                clips = [clip.backwards() if f else clip for clip, f in zip(clips, flip, strict=True)]
                levels = [reverse(level, flip) for level in levels]
            log.add(kind, *self.learn(clips, levels, self.options.objects, kind, rng, options))
            levels = [level.detach() for level in levels]
        for _ in range(stage.still_updates):
            self.image_step(stage, clips, levels, rng, log)

    def image_step(
        self, stage: Stage, clips: list[Clip], levels: list[Tensor], rng: np.random.Generator, log: Log
    ) -> None:
        """One update on single frames of the clips, from boxes or clicks."""
        kind: PromptKind = "box" if rng.random() < 0.5 else "click"
        stills = [(v, t, clip.still(t)) for v, clip in enumerate(clips) for t in range(stage.frames)]
        stills = [still for still in stills if still[2].seen_first()]
        rng.shuffle(stills)
        rows = [v * stage.frames + t for v, t, _ in stills[: stage.stills]]
        chosen = [clip for _, _, clip in stills[: stage.stills]]
        features = [level.flatten(0, 1)[rows].unsqueeze(1) for level in levels]
        log.add(f"still-{kind}", *self.learn(chosen, features, 2, kind, rng, RolloutOptions(correct_first=0.4)))

    def levels(self, clips: list[Clip], thaw: int) -> list[Tensor]:
        """The trunk's normalised levels (V, T, C, ., .), high to low resolution; a step's first update trains it."""
        with torch.no_grad():
            end, levels = in_chunks(self.frozen_part(thaw), stack(clips, self.options.device).flatten(0, 1))
        _, rest = TrunkPart(self.model.image_encoder.trunk, thaw, len(LITE0))(end)
        levels = self.norm([level.contiguous() for level in (*levels, *rest)])
        return [level.unflatten(0, (len(clips), -1)) for level in levels]

    def learn(
        self,
        clips: list[Clip],
        levels: list[Tensor],
        objects: int,
        kind: PromptKind,
        rng: np.random.Generator,
        options: RolloutOptions,
    ) -> tuple[float, float]:
        """One update. Returns the loss and the mean IoU of the frames after a mask prompt, else of all."""
        masks = np.stack([clip.choose(rng, objects) for clip in clips])
        rollout = Rollout(self.model, self.heads, encode(self.model, levels), masks, rng, options)
        rollout.play(kind)
        loss = rollout.loss / rollout.terms
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        self.optimizer.step()
        self.average.update(self.model)
        ious = rollout.ious[1:] if kind == "mask" else rollout.ious
        return float(loss.detach()), float(torch.stack(ious).mean())


def stack(clips: list[Clip], device: str) -> Tensor:
    """Normalised images (V, T, 3, S, S)."""
    return normalise(torch.from_numpy(np.stack([clip.frames for clip in clips])).to(device))


def reverse(level: Tensor, flip: list[bool]) -> Tensor:
    """Features (V, T, ...) with the frames of some clips in reverse order."""
    return torch.stack([x.flip(0) if f else x for x, f in zip(level, flip, strict=True)])


@torch.no_grad()
def check(model: SAM2Base, norm: LevelNorm, size: int, batches: int = 4) -> None:
    """Print the IoU on held-out composites: of the prompted frame, and of the seven frames after it."""
    options = RolloutOptions(correct_first=0, correct_later=0, true_presence=0, damage=0, gap=0)
    report = []
    for kind in PROMPTS:
        scene, rng = Scene(DATA, 0, held_out=True), np.random.default_rng(0)
        first, later = [], []
        for _ in range(batches):
            clips = [scene.clip(8, size) for _ in range(4)]
            masks = np.stack([clip.choose(rng, 2) for clip in clips])
            levels = norm(model.image_encoder.trunk(stack(clips, str(model.device)).flatten(0, 1)))
            levels = [level.unflatten(0, (len(clips), -1)) for level in levels]
            rollout = Rollout(model, None, encode(model, levels), masks, rng, options)
            rollout.play(kind)
            first.append(rollout.ious[0].mean())
            later.append(torch.stack(rollout.ious[1:]).mean())
        report.append(f"{kind} {float(torch.stack(first).mean()):.3f} then {float(torch.stack(later).mean()):.3f}")
    print("held-out " + ", ".join(report), flush=True)


class Log:
    """Means since the last line: loss, IoU for each kind of step, rate of learning, frames a second, time left."""

    def __init__(self, trainer: Trainer, last: int):
        self.trainer, self.last = trainer, last
        self.begin()

    def begin(self) -> None:
        self.losses: list[float] = []
        self.ious: dict[str, list[float]] = {}
        self.since, self.first = time.monotonic(), self.trainer.step

    def add(self, kind: str, loss: float, iou: float) -> None:
        self.losses.append(loss)
        self.ious.setdefault(kind, []).append(iou)

    def write(self, now: Moment) -> None:
        steps, seconds = self.trainer.step - self.first, time.monotonic() - self.since
        frames = 2 * steps * now.stage.frames * now.stage.clips / seconds
        left = (self.last - self.trainer.step) * seconds / max(steps, 1) / 60
        ious = " ".join(f"{kind} {np.mean(values):.3f}" for kind, values in sorted(self.ious.items()))
        print(
            f"step {self.trainer.step} size {now.stage.size} loss {np.mean(self.losses):.3f} {ious} "
            f"lr {now.rate:.1e} {frames:.1f} frames/s, {left:.0f} min left at this size",
            flush=True,
        )
        self.begin()


def keep_memory() -> None:
    """Let glibc keep freed memory: giving it back and taking it again costs a fifth of the time on a CPU."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(parameter, value)


def main() -> None:
    keep_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=Path, help="a checkpoint or exported weights to begin the plan from")
    parser.add_argument("--plan", choices=PLANS, default="first", help="the stages of training.schedule to go through")
    parser.add_argument("--no-compile", action="store_true")
    arguments = vars(parser.parse_args())
    plan = PLANS[arguments.pop("plan")]
    options = TrainOptions(compile=not arguments.pop("no_compile"), **arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    Trainer(options, plan).run()


if __name__ == "__main__":
    main()
