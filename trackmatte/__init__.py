"""trackmatte: name an object once in a clip and get it back as masks, a matte, an alpha video or a render.

    import trackmatte as tm

    model = tm.load_model("nano")
    with tm.open_clip("clip.mp4") as clip:
        for result in tm.track(clip, [tm.Point(640, 360)], model=model):
            result.masks  # (O, H, W) bool

Importing the package does not import torch: the engine's functions are looked up at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trackmatte.errors import (
    DamagedClipError,
    InputError,
    ModelError,
    OutputError,
    PromptError,
    TrackmatteError,
    UsageError,
)
from trackmatte.types import Box, ClipInfo, Frame, Mask, ObjectMasks, Point, Prompt, Range, Time

if TYPE_CHECKING:
    from trackmatte.evaluation import evaluate
    from trackmatte.io.coco import CocoWriter
    from trackmatte.io.decode import VideoReader, open_clip
    from trackmatte.io.encode import VideoWriter
    from trackmatte.io.images_out import ImageFolderWriter, IndexedPngWriter, SeparatePngWriter
    from trackmatte.io.probe import probe
    from trackmatte.io.tracks import Tracks, TracksWriter, read_tracks
    from trackmatte.pipeline import track
    from trackmatte.render.alpha import matte, straight_alpha
    from trackmatte.render.effects import Effect, parse_effect
    from trackmatte.tracker.model import Model, load_model

__version__ = "0.1.0"

__all__ = [
    "Box",
    "ClipInfo",
    "CocoWriter",
    "DamagedClipError",
    "Effect",
    "Frame",
    "ImageFolderWriter",
    "IndexedPngWriter",
    "InputError",
    "Mask",
    "Model",
    "ModelError",
    "ObjectMasks",
    "OutputError",
    "Point",
    "Prompt",
    "PromptError",
    "Range",
    "SeparatePngWriter",
    "Time",
    "TrackmatteError",
    "Tracks",
    "TracksWriter",
    "UsageError",
    "VideoReader",
    "VideoWriter",
    "__version__",
    "evaluate",
    "load_model",
    "matte",
    "open_clip",
    "parse_effect",
    "probe",
    "read_tracks",
    "straight_alpha",
    "track",
]

_LAZY = {
    "CocoWriter": "trackmatte.io.coco",
    "Effect": "trackmatte.render.effects",
    "ImageFolderWriter": "trackmatte.io.images_out",
    "IndexedPngWriter": "trackmatte.io.images_out",
    "Model": "trackmatte.tracker.model",
    "SeparatePngWriter": "trackmatte.io.images_out",
    "Tracks": "trackmatte.io.tracks",
    "TracksWriter": "trackmatte.io.tracks",
    "VideoReader": "trackmatte.io.decode",
    "VideoWriter": "trackmatte.io.encode",
    "evaluate": "trackmatte.evaluation",
    "load_model": "trackmatte.tracker.model",
    "matte": "trackmatte.render.alpha",
    "open_clip": "trackmatte.io.decode",
    "parse_effect": "trackmatte.render.effects",
    "probe": "trackmatte.io.probe",
    "read_tracks": "trackmatte.io.tracks",
    "straight_alpha": "trackmatte.render.alpha",
    "track": "trackmatte.pipeline",
}


if not TYPE_CHECKING:  # to a type checker a name that isn't here is an error

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module 'trackmatte' has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
