"""What an output asks for, and which writer answers.

One `Output` takes (frame, masks) pairs in order, whatever it makes of them: a folder of indexed PNGs, native
tracks, a matte, an alpha video or a rendered video.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from trackmatte.errors import UsageError
from trackmatte.io.atomic import PendingOutput, output_errors
from trackmatte.io.coco import CocoWriter
from trackmatte.io.encode import VideoWriter
from trackmatte.io.images_out import ImageFolderWriter, IndexedPngWriter, SeparatePngWriter
from trackmatte.io.tracks import TracksWriter
from trackmatte.render.alpha import matte, straight_alpha
from trackmatte.render.effects import parse_effect
from trackmatte.types import ClipInfo, Frame, ImageArray, ObjectMasks, Prompt

OutputKind = Literal["masks", "matte", "alpha", "render"]


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """One output as asked for on the command line.

    Attributes:
        kind: which of the four options.
        path: a file, whose suffix decides the format, or a folder.
        effect: `EFFECT[:ARG]` of a render.
        slash: the path was given with a `/` at its end: a folder, whatever dots its name has.
        separate: a folder of masks has one for each object, in place of indexed PNGs.
    """

    kind: OutputKind
    path: Path
    effect: str = ""
    slash: bool = False
    separate: bool = False

    @property
    def folder(self) -> bool:
        """Whether a folder is asked for: no suffix, or a `/` at the end."""
        return self.slash or not self.path.suffix


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What the writers note down about a run.

    Attributes:
        clip: the clip that is read.
        model: the model's name.
        prompts: all prompts of the run.
        names: the objects shown, in order.
        trim: True where only a part of the clip is written: its first frame is then at time 0.
        overwrite: an existing output may be replaced.
        keep_start: a clip that begins far from 0 keeps its times.
    """

    clip: ClipInfo
    model: str
    prompts: tuple[Prompt, ...]
    names: tuple[str, ...]
    trim: bool = False
    overwrite: bool = False
    keep_start: bool = False


class Output(Protocol):
    """Takes the frames of a run in order; what it made appears under its name only when that is taken.

    Attributes:
        pending: the file or folder that waits for its name.
    """

    pending: PendingOutput

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on what could not be carried over, such as sound that can't be read; known after `complete`."""

    def write(self, frame: Frame, masks: ObjectMasks) -> None:
        """Takes the next frame with the masks of all objects shown."""

    def complete(self, *, cut: bool = False) -> None:
        """Writes what is left, so that nothing but the name is missing."""

    def abort(self) -> None:
        """Gives up: nothing stays behind. Safe to call more than once, and after the name was taken."""


class _Maskwise:
    """An output made from the masks alone."""

    def __init__(self, writer: TracksWriter | CocoWriter | IndexedPngWriter | SeparatePngWriter) -> None:
        self._writer = writer
        self.complete = writer.complete
        self.pending = writer.pending
        self.notes: Sequence[str] = writer.pending.notes
        self.abort = writer.abort

    def write(self, frame: Frame, masks: ObjectMasks) -> None:
        self._writer.write(masks)


class _Pictures:
    """An output of pictures, one made from each frame and its masks."""

    def __init__(
        self, writer: VideoWriter | ImageFolderWriter, picture: Callable[[Frame, ObjectMasks], ImageArray]
    ) -> None:
        self._writer = writer
        self._picture = picture
        self.complete = writer.complete
        self.pending = writer.pending
        self.abort = writer.abort

    @property
    def notes(self) -> Sequence[str]:
        return self._writer.notes if isinstance(self._writer, VideoWriter) else self.pending.notes

    def write(self, frame: Frame, masks: ObjectMasks) -> None:
        self._writer.write(frame.with_image(self._picture(frame, masks)))


def check_requests(requests: Sequence[OutputRequest], run: RunInfo) -> list[str]:
    """Says at once what can't be written, before a model is loaded.

    Returns:
        Sentences on what runs that were killed left beside the outputs.

    Raises:
        UsageError: two outputs of one path, an output over the clip, an unknown effect or suffix.
        OutputError: an output exists, or its folder can't be written to.
    """
    seen: set[Path] = set()
    for request in requests:
        path = _real(request.path)
        if path in seen:
            raise UsageError(f"two outputs go to {request.path}; give each its own path")
        clip = _real(Path(run.clip.path))
        if path == clip:
            raise UsageError(f"the output {request.path} is the clip itself; give another path")
        if request.folder and path in clip.parents:
            raise UsageError(f"the output {request.path} holds the clip; give another folder")
        seen.add(path)
    for inner in seen:
        if outer := next((path for path in seen if path in inner.parents), None):
            raise UsageError(f"the output {inner} lies inside the output {outer}; give each a place of its own")
    with opened(requests, run) as outputs:
        return [note for output in outputs for note in output.pending.notes]


def _real(path: Path) -> Path:
    """Where a path leads, absolute. Raises OutputError where it is relative to a folder that is gone."""
    with output_errors(path):
        return Path(os.path.realpath(path))


@contextmanager
def opened(requests: Sequence[OutputRequest], run: RunInfo) -> Iterator[list[Output]]:
    """Opens all outputs; on leaving, those that were not committed are gone.

    Raises:
        UsageError: an unknown effect or suffix. OutputError: an output can't be written.
    """
    with ExitStack() as stack:
        outputs = []
        for request in requests:
            output = _OPEN[request.kind](request, run)
            stack.callback(output.abort)
            outputs.append(output)
        yield outputs


def _open_masks(request: OutputRequest, run: RunInfo) -> Output:
    suffix = "" if request.folder else request.path.suffix.lower()
    if suffix == ".jsonl":
        return _Maskwise(
            TracksWriter(
                request.path,
                clip=run.clip,
                model=run.model,
                prompts=run.prompts,
                names=run.names,
                trim=run.trim,
                overwrite=run.overwrite,
            )
        )
    if suffix == ".json":
        return _Maskwise(CocoWriter(request.path, clip=run.clip, names=run.names, overwrite=run.overwrite))
    if suffix:
        raise UsageError(
            f"--masks {request.path}: give a folder (no suffix, or a / at the end), a .jsonl or a .json file"
        )
    writer = SeparatePngWriter if request.separate else IndexedPngWriter
    return _Maskwise(writer(request.path, names=run.names, clip=run.clip, overwrite=run.overwrite))


def _open_matte(request: OutputRequest, run: RunInfo) -> Output:
    return _Pictures(_picture_writer(request, run, kind="matte"), lambda frame, masks: matte(masks))


def _open_alpha(request: OutputRequest, run: RunInfo) -> Output:
    return _Pictures(
        _picture_writer(request, run, kind="alpha"), lambda frame, masks: straight_alpha(frame.image, masks)
    )


def _open_render(request: OutputRequest, run: RunInfo) -> Output:
    effect = parse_effect(request.effect)
    if request.folder:
        raise UsageError(f"--render {request.effect} {request.path}: give a video file: .mp4, .mov, .mkv or .webm")
    return _Pictures(_picture_writer(request, run, kind="color"), lambda frame, masks: effect.apply(frame.image, masks))


def _picture_writer(
    request: OutputRequest, run: RunInfo, *, kind: Literal["color", "matte", "alpha"]
) -> VideoWriter | ImageFolderWriter:
    if request.folder:
        return ImageFolderWriter(request.path, clip=run.clip, overwrite=run.overwrite)
    return VideoWriter(
        request.path, clip=run.clip, kind=kind, audio=kind != "matte", trim=run.trim, keep_start=run.keep_start,
        overwrite=run.overwrite,
    )  # fmt: skip


_OPEN: dict[OutputKind, Callable[[OutputRequest, RunInfo], Output]] = {
    "masks": _open_masks,
    "matte": _open_matte,
    "alpha": _open_alpha,
    "render": _open_render,
}
