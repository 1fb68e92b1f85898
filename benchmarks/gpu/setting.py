"""What a section has to work with: a device, models, frames and objects; few and small ones in a smoke test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.common import CLIP
from benchmarks.stages import REFERENCE_DEFAULTS
from tests.parity.reference import random_state, small_spec
from trackmatte.io.decode import open_clip
from trackmatte.tracker.architecture import read_config
from trackmatte.tracker.model import Model, open_model
from trackmatte.tracker.registry import ModelSpec, find_spec
from trackmatte.tracker.weights import State, locate, read_state
from trackmatte.types import ClipInfo, Frame, Point

OPTIMIZED = ["_target_=sam2.sam2_video_predictor.SAM2VideoPredictorVOS", "compile_image_encoder=true"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how thoroughly to measure.

    Attributes:
        device: what computes.
        smoke: small networks and few frames, to try the commands.
        data: a folder of folders with `frames` and `masks`, or None.
    """

    device: torch.device
    smoke: bool = False
    data: Path | None = None

    def spec(self, name: str) -> ModelSpec:
        """The model of that name; in a smoke test always the smallest SAM 2.1 there is, a Hiera at 128 px."""
        return small_spec("21") if self.smoke else find_spec(name)

    @property
    def dtype(self) -> torch.dtype:
        """What both sides compute in where speed is measured: not every CPU has instructions for half formats."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    @property
    def objects(self) -> tuple[int, int]:
        """Few and many."""
        return (1, 2) if self.smoke else (1, 8)

    def many(self, thorough: int, smoke: int) -> int:
        """A number of frames or passes."""
        return smoke if self.smoke else thorough

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True, slots=True)
class Held:
    """A clip whose frames are in memory, as `track_frames` takes it."""

    info: ClipInfo
    frames: list[Frame] = field(repr=False)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def held(count: int, *, clip: Path = CLIP) -> Held:
    """The first frames of the sample."""
    with open_clip(clip) as reader:
        return Held(reader.info, list(itertools.islice(reader, count)))


def as_jpegs(count: int, folder: Path) -> Held:
    """The same as JPEGs in a folder, which the reference reads, and as Pillow decodes them there too."""
    clip, paths = held(count), [folder / f"{index:05d}.jpg" for index in range(count)]
    for frame, path in zip(clip.frames, paths, strict=True):
        Image.fromarray(frame.image8).save(path, quality=95)
    read = [np.array(Image.open(path).convert("RGB")) for path in paths]
    return Held(clip.info, [frame.with_image(image) for frame, image in zip(clip.frames, read, strict=True)])


@cache
def state_of(spec: ModelSpec) -> State:
    """The model's own weights where it is `nano`, else random ones that keep numbers near 1."""
    return read_state(locate(spec)) if spec.name == "nano" else random_state(spec)


def load(spec: ModelSpec, device: torch.device, dtype: torch.dtype, **options: Any) -> Model:
    """A model of ours; options as `open_model` has them."""
    return open_model(spec, state_of(spec), source="weights", device=device, dtype=dtype, **options)


def reference(spec: ModelSpec, device: torch.device, *, optimized: bool = False) -> Any:
    """SAM2VideoPredictor as `build_sam2_video_predictor` configures it, by its option `vos_optimized` too."""
    changes = [*REFERENCE_DEFAULTS, *(OPTIMIZED if optimized else [])]
    predictor = instantiate(OmegaConf.merge(read_config(spec.config), OmegaConf.from_dotlist(changes)))
    predictor.load_state_dict(state_of(spec))
    return predictor.eval().to(device)


def clicks(objects: int, clip: ClipInfo) -> list[Point]:
    """A click for each object: the sample's rabbit, then places spread over the picture."""
    shares = [(0.29, 0.58), (0.6, 0.5), (0.2, 0.7), (0.8, 0.3), (0.5, 0.2), (0.7, 0.8), (0.9, 0.6), (0.4, 0.85)]
    return [Point(x * clip.width, y * clip.height, name=str(i)) for i, (x, y) in enumerate(shares[:objects], start=1)]
