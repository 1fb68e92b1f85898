"""What people read: the progress bar and the tables of the command line. Progress and warnings go to stderr."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from trackmatte.errors import printable
from trackmatte.summary import Summary
from trackmatte.types import BoolArray, ClipInfo, Frame, Metadata, ObjectMasks

if TYPE_CHECKING:
    from trackmatte.evaluation import Evaluation


class Progress:
    """Frames done, frames a second and time left, on a terminal alone."""

    def __init__(self, total: int | None, *, shown: bool) -> None:
        console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("frames"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task("frames", total=total, rate="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One frame more."""
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, advance=1, rate=f"{speed:.1f} fps" if speed else "")


def warn(message: str) -> None:
    """One line on stderr, which is dropped where it can't be printed."""
    with contextlib.suppress(OSError):
        click.echo(f"trackmatte: warning: {printable(message)}", err=True)


def _say(line: str) -> None:
    """One line on stdout."""
    click.echo(printable(line))


def print_summary(summary: Summary) -> None:
    """The end of a run: frames, speed, each object's presence and loss, the outputs."""
    facts = summary.to_json()
    memory = f", peak memory {facts['peak_memory_mb']:.0f} MB" if facts["peak_memory_mb"] else ""
    _say(f"{summary.frames} frames in {summary.seconds:.1f} s ({facts['frames_per_second']:.1f} fps{memory})")
    for entry in summary.objects.values():
        lost = ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in entry.lost)
        note = f"; lost in frames {lost}" if lost else ""
        _say(f"object {entry.name}: in {entry.frames_present} frames{note}")
    for path in summary.outputs:
        _say(f"wrote {path}")


def print_preview(frame: Frame, masks: ObjectMasks | None, output: Path) -> None:
    """Which frame a preview shows, and each object's mask: its share of the picture and the box around it."""
    lines = [f"frame {frame.index} at {float(frame.pts_seconds):.3f} s, {frame.width}x{frame.height}"]
    for name, mask in zip(masks.names, masks.masks, strict=True) if masks else ():
        lines.append(f"object {name}: {_extent(mask)}")
    try:
        for line in (*lines, f"wrote {output}"):
            _say(line)
    except OSError as exc:
        warn(f"the summary can't be printed ({exc.strerror}); the picture is written")


def _extent(mask: BoolArray) -> str:
    columns, rows = mask.any(axis=0).nonzero()[0], mask.any(axis=1).nonzero()[0]
    if not len(rows):
        return "nothing found"
    box = f"{columns[0]},{rows[0]},{columns[-1] + 1},{rows[-1] + 1}"
    return f"{mask.mean():.1%} of the picture, in the box {box}"


def print_clip(info: ClipInfo) -> None:
    """A clip's facts, one a line."""
    rate = "unknown" if info.rate is None else f"{float(info.rate):.3f} fps"
    variable = {True: ", variable", False: ", constant", None: ""}[info.variable_rate]
    color = info.color
    facts = {
        "clip": info.path,
        "container": info.container,
        "size": f"{info.width}x{info.height}"
        + (
            ""
            if (info.coded_width, info.coded_height) == (info.width, info.height)
            else f" (stored {info.coded_width}x{info.coded_height})"
        ),
        "rotation": f"{info.rotation} degrees clockwise{', then mirrored' if info.mirrored else ''}",
        "pixel aspect": f"{info.pixel_aspect.numerator}:{info.pixel_aspect.denominator}",
        "rate": rate + variable,
        "frames": "unknown" if info.frames is None else str(info.frames),
        "start": f"{float(info.start_seconds):.3f} s",
        "duration": "unknown" if info.duration_seconds is None else f"{float(info.duration_seconds):.3f} s",
        "codec": f"{info.codec} {info.pixel_format} ({info.bit_depth} bits)",
        "colour": f"matrix {color.matrix}, primaries {color.primaries}, transfer {color.transfer}, range {color.range}",
        "interlaced": "yes, deinterlaced in reading" if info.interlaced else "no",
        "alpha": "yes, left out in reading" if info.has_alpha else "no",
        "sound": ", ".join(f"{a.codec} {a.sample_rate} Hz {a.channels} ch" for a in info.audio) or "none",
    }
    facts |= {name: value for name, value in _metadata(info.metadata).items() if value}
    for name, value in facts.items():
        _say(f"{name:13} {value}")
    for note in info.notes:
        _say(f"{'note':13} {note}")


def _metadata(metadata: Metadata) -> dict[str, str]:
    """What a clip holds beside pictures and sound; empty texts where it doesn't."""
    hdr = []
    if metadata.mastering_display is not None:
        least, greatest = metadata.mastering_display.luminance
        hdr.append(f"mastered at {float(least):g} to {float(greatest):g} cd/m2")
    if metadata.content_light is not None:
        hdr.append(f"MaxCLL {metadata.content_light.max_cll}, MaxFALL {metadata.content_light.max_fall} cd/m2")
    return {
        "title": metadata.title or "",
        "created": metadata.created or "",
        "timecode": metadata.timecode or "",
        "reel": metadata.reel or "",
        "HDR10": ", ".join(hdr),
        "chapters": str(len(metadata.chapters) or ""),
        "subtitles": ", ".join(f"{s.stream} {s.codec} {s.language or ''}".strip() for s in metadata.subtitles),
    }


def print_models() -> None:
    """All models as a table."""
    from trackmatte.tracker.registry import list_models

    table = Table("model", "weights", "from", "here", box=None)
    for entry in list_models():
        table.add_row(entry.name, entry.size, entry.source, "yes" if entry.here else "no")
    Console(file=sys.stdout, markup=False).print(table)


def print_evaluation(evaluation: Evaluation) -> None:
    """Each object's scores and the means, in percent."""
    facts = evaluation.to_json()
    table = Table("object", "J", "F", "J&F", box=None)
    for entry in [*facts["objects"], {"name": "mean", **{key: facts[key] for key in ("J", "F", "J&F")}}]:
        table.add_row(printable(entry["name"]), *(f"{entry[key]:.1f}" for key in ("J", "F", "J&F")))
    Console(file=sys.stdout, markup=False).print(table)
