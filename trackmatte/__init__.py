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
    from trackmatte.io.decode import VideoReader, open_clip
    from trackmatte.io.encode import VideoWriter
    from trackmatte.io.probe import probe
    from trackmatte.io.tracks import Tracks, read_tracks
    from trackmatte.pipeline import track
    from trackmatte.tracker.model import Model, load_model

__version__ = "0.1.0"

__all__ = [
    "Box",
    "ClipInfo",
    "DamagedClipError",
    "Frame",
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
    "Time",
    "TrackmatteError",
    "Tracks",
    "UsageError",
    "VideoReader",
    "VideoWriter",
    "__version__",
    "evaluate",
    "load_model",
    "open_clip",
    "probe",
    "read_tracks",
    "track",
]

_LAZY = {
    "Model": "trackmatte.tracker.model",
    "Tracks": "trackmatte.io.tracks",
    "VideoReader": "trackmatte.io.decode",
    "VideoWriter": "trackmatte.io.encode",
    "evaluate": "trackmatte.evaluation",
    "load_model": "trackmatte.tracker.model",
    "open_clip": "trackmatte.io.decode",
    "probe": "trackmatte.io.probe",
    "read_tracks": "trackmatte.io.tracks",
    "track": "trackmatte.pipeline",
}


if not TYPE_CHECKING:  # to a type checker a name that isn't here is an error

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module 'trackmatte' has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
