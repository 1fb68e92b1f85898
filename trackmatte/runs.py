"""The commands `track` and `render` as functions: open, check, run, report."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from trackmatte.errors import OutputError, UsageError
from trackmatte.io.decode import VideoReader, open_clip
from trackmatte.io.tracks import read_tracks
from trackmatte.outputs import OutputRequest, RunInfo, check_requests, opened
from trackmatte.pipeline import Tracked, check_prompts, check_size, saved_frames, track_frames, write_outputs
from trackmatte.reporting import Progress, print_summary, warn
from trackmatte.schedule import expected_frames, object_names
from trackmatte.summary import Summary
from trackmatte.types import WHOLE, ObjectMasks, Prompt, Range

if TYPE_CHECKING:
    from trackmatte.tracker.model import Model


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which weights to load, and how to run them; see `tracker.model.load_model`."""

    name: str = "nano"
    checkpoint: str | None = None
    device: str = "auto"
    precision: str = "auto"
    speed: str = "exact"
    compile: bool = False

    def load(self) -> Model:
        """Loads the model. Raises ModelError."""
        from trackmatte.tracker.model import load_model

        return load_model(
            self.name,
            checkpoint=self.checkpoint,
            device=self.device,
            precision=self.precision,
            speed=self.speed,
            compile=self.compile,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `track` and `render` share.

    Attributes:
        only: objects that the outputs show; none for all.
        overwrite: existing outputs may be replaced.
        keep_start: a clip that begins far from 0 keeps its times.
        stream: the video stream to read; None for FFmpeg's own choice.
        backend: what decodes.
        damaged: at damage in the clip, `stop` with an error or `keep` what decodes.
        rate: frames a second of a folder of images.
        quiet: no progress, no summary.
        as_json: the summary as JSON on stdout.
    """

    only: tuple[str, ...] = ()
    overwrite: bool = False
    keep_start: bool = False
    stream: int | None = None
    backend: Literal["av", "decord", "ffmpeg"] = "av"
    damaged: Literal["stop", "keep"] = "stop"
    rate: Fraction | None = None
    quiet: bool = False
    as_json: bool = False

    def open(self, clip: str) -> VideoReader:
        """Opens the clip for reading. Raises InputError."""
        return open_clip(clip, backend=self.backend, damaged=self.damaged, rate=self.rate, stream=self.stream)


def run_track(
    clip: str,
    *,
    prompts: Sequence[Prompt],
    span: Range,
    outputs: Sequence[OutputRequest],
    model: ModelOptions,
    options: RunOptions,
) -> None:
    """Tracks the prompted objects and writes every output; see `trackmatte track --help`.

    Raises:
        TrackmatteError: of the kind that says what is wrong; no output is left behind.
    """
    names = object_names(prompts)
    with options.open(clip) as reader:
        info = RunInfo(
            clip=reader.info,
            model=model.name,
            prompts=tuple(prompts),
            names=_shown(names, options.only),
            trim=span != WHOLE,
            overwrite=options.overwrite,
            keep_start=options.keep_start,
        )
        check_prompts(prompts, reader.info, span)
        notes = check_requests(outputs, info)
        loaded = model.load()
        results = track_frames(reader, prompts, model=loaded, span=span)
        info = replace(info, model=loaded.name)
        total = expected_frames(reader.info, span)
        _run(reader, results, names=names, info=info, outputs=outputs, options=options, total=total, notes=notes)


def run_render(clip: str, *, tracks: str, outputs: Sequence[OutputRequest], options: RunOptions) -> None:
    """Writes outputs again from saved tracks; see `trackmatte render --help`.

    Raises:
        TrackmatteError: of the kind that says what is wrong; no output is left behind.
    """
    saved = read_tracks(Path(tracks))
    with options.open(clip) as reader:
        info = RunInfo(
            clip=reader.info,
            model=saved.model,
            prompts=tuple(saved.prompts),
            names=_shown(saved.names, options.only),
            trim=saved.trimmed,
            overwrite=options.overwrite,
            keep_start=options.keep_start,
        )
        check_size(reader.info, width=saved.width, height=saved.height)
        notes = check_requests(outputs, info)
        results = saved_frames(reader, saved)
        total = None if saved.trimmed else reader.info.frames
        cut = _run(
            reader, results, names=saved.names, info=info, outputs=outputs, options=options, total=total, notes=notes
        )
        if cut and not saved.trimmed:
            warn("the tracks end before the clip does, and so do picture and sound of the outputs")


def _run(
    reader: VideoReader,
    results: Generator[Tracked, None, bool | None],
    *,
    names: tuple[str, ...],
    info: RunInfo,
    outputs: Sequence[OutputRequest],
    options: RunOptions,
    total: int | None,
    notes: Sequence[str],
) -> bool:
    """Writes the outputs, `total` frames where that is known, and reports; returns whether the clip goes on then."""
    summary = Summary(reader.info, names, [str(request.path) for request in outputs])
    with Progress(total, shown=not options.quiet) as progress, opened(outputs, info) as writers, closing(results):

        def report(masks: ObjectMasks) -> None:
            summary.add(masks)
            progress.advance()

        cut = write_outputs(results, writers, only=options.only, on_frame=report)
    notes = [*notes, *reader.info.notes, *reader.notes, *(note for writer in writers for note in writer.notes)]
    summary.close(damage=reader.damage, notes=notes)
    try:
        _tell(summary, options)
    except (KeyboardInterrupt, SystemExit) as end:
        vars(end)["written"] = True  # for the command line's last line
        raise
    return cut


def _tell(summary: Summary, options: RunOptions) -> None:
    """Prints notes and summary of a run whose outputs are all written. Raises OutputError where it is the result."""
    for note in [summary.damage, *summary.notes]:
        if note:
            warn(note)
    try:
        if options.as_json:
            click.echo(json.dumps(summary.to_json()))
        elif not options.quiet:
            print_summary(summary)
    except OSError as exc:
        what = f"the summary can't be printed ({exc.strerror}); all outputs are written"
        if options.as_json:
            raise OutputError(what) from exc
        warn(what)


def _shown(names: tuple[str, ...], only: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in only if name not in names]:
        raise UsageError(f"--only {unknown[0]}: no object has that name; the objects are {', '.join(names)}")
    return tuple(name for name in names if not only or name in only)
