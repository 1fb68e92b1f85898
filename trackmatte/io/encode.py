"""Writing a video: pictures and their times, colour tags, sound, and what else the clip holds.

Presentation times come out as they went in. .mp4 and .mov keep the clip's own time base, so that times are equal as
fractions, at a variable rate too, and a first frame that isn't at zero stays where it was. .mkv and .webm count in
milliseconds and round each time to the nearest. With `trim` the first frame is at zero and the sound is cut to fit; a
clip whose own times begin below 0 or far from it is moved to begin at 0, pictures and sound alike.

Timecode, reel, time of creation and title come along, the timecode counted on to the first frame that is written. A
`color` video has the chapters and subtitles too, and HDR10's metadata where its encoder writes them. What the container
or encoder can't hold is named in one of the writer's notes.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from trackmatte.errors import OutputError, UsageError
from trackmatte.io.atomic import PendingOutput, output_errors
from trackmatte.io.carry import CarriedTracks
from trackmatte.io.encoders import VideoKind, VideoSpec, check_suffix, choose_spec
from trackmatte.io.metadata_out import write_chapters, write_tags
from trackmatte.io.opening import open_container
from trackmatte.io.pictures import PictureEncoder
from trackmatte.io.writer import Writer
from trackmatte.types import ClipInfo, Frame

_LEAST_TIMESCALE = 10_000
_MILLISECONDS = 1000
_SHALLOW = 8  # bits


class VideoWriter(Writer):
    """A video file, written frame by frame.

    Attributes:
        path: the final name; the file has it once it is finished.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clip: ClipInfo,
        kind: VideoKind,
        audio: bool = True,
        trim: bool = False,
        keep_start: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Checks the name and reserves it.

        Args:
            path: the output; its suffix chooses container and codec (see `encoders`).
            clip: the clip that the frames come from: its colour tags and sound are carried over.
            kind: `color` (frames (H, W, 3)), `matte` ((H, W) uint8) or `alpha` ((H, W, 4), straight).
            audio: whether sound comes along; a matte never has any.
            trim: whether the frames are a part of the clip: the first one is then at zero, and the sound is cut to
                where they begin and end.
            keep_start: a clip that begins far from 0 is not moved there (see `ClipInfo.zero_seconds`); one that begins
                below 0 always is, since no container keeps what lies there.
            overwrite: whether an existing file may be replaced.

        Raises:
            UsageError: the container can't carry this kind, or the output is the clip.
            OutputError: the file exists or its folder can't be written.
        """
        self.path = Path(path)
        self._clip = clip
        self._kind: VideoKind = kind
        self._audio = audio and kind != "matte" and bool(clip.audio)
        self._trim = trim
        self._zero = min(clip.zero_seconds, Fraction(0)) if keep_start else clip.zero_seconds
        self._container: OutputContainer | None = None
        self._pictures: PictureEncoder | None = None
        self._carried: CarriedTracks | None = None
        suffix = check_suffix(self.path, kind)
        if suffix in (".mkv", ".webm") and clip.rate is not None and clip.rate > _MILLISECONDS:
            raise UsageError(
                f"{self.path}: {suffix} counts in milliseconds, too coarse for {float(clip.rate):g} frames a second; "
                "use .mp4 or .mov"
            )
        choose_spec(self.path, kind=kind, width=clip.width, height=clip.height, deep=clip.bit_depth > _SHALLOW)
        self.pending = PendingOutput(self.path, overwrite=overwrite, source=clip.path)
        self._left_out: list[str] = []
        self._notes: list[str] = []
        self._subtitles = kind == "color" and bool(clip.metadata.subtitles)
        self._source = self._open_source() if self._audio or self._subtitles else None

    @property
    def notes(self) -> list[str]:
        """What could not be carried over, and what was found beside the output, as sentences."""
        notes = [*self.pending.notes, *self._notes, *(self._carried.notes if self._carried is not None else ())]
        left_out = [*self._left_out, *(self._carried.left_out if self._carried is not None else ())]
        return [*notes, f"{self.path.name} goes without {', '.join(left_out)}"] if left_out else notes

    def write(self, frame: Frame, /) -> None:
        """Adds one frame; the first one sets size, depth and time base.

        Raises:
            OutputError: the file can't be written.
        """
        with self._errors():
            if self._pictures is None:
                self._pictures = self._open(frame)
            self._mux(self._pictures.encode(frame))

    def complete(self, *, cut: bool = False) -> None:
        """Writes what is left.

        Args:
            cut: the clip goes on after the last frame; its sound ends there too.

        Raises:
            OutputError: the file can't be written, or there was no frame.
        """
        if self._pictures is None:
            raise OutputError(f"can't write {self.path}: there was no frame")
        with self._errors():
            self._mux(self._pictures.flush())
            if self._carried is not None:
                self._carried.finish(self._pictures.end if self._trim or cut else None)
            if self._kind == "color" and self._container is not None:
                end = self._pictures.end if self._trim or cut else None
                write_chapters(self._container, self._clip, origin=self._pictures.origin, end=end)
            self._close()

    def abort(self) -> None:
        """Gives the file up; what stood under its name stays."""
        self.pending.discard()  # before closing, so that the muxer doesn't polish a file that nobody gets
        with contextlib.suppress(av.FFmpegError, OSError):
            self._close()
        self.pending.discard()

    def _open(self, frame: Frame) -> PictureEncoder:
        """Opens the container with the encoder and the sound that fit the first frame."""
        deep = frame.image.dtype == np.uint16
        spec = choose_spec(
            self.path, kind=self._kind, width=frame.width, height=frame.height, deep=deep, metadata=self._clip.metadata
        )
        options = {"movflags": "+faststart", "movie_timescale": str(_timescale(frame.time_base))}
        self._container = av.open(
            str(self.pending.temp.absolute()), "w", format=spec.container,
            container_options=options if spec.container in ("mp4", "mov") else {},
        )  # fmt: skip
        origin = frame.pts if self._trim else math.floor(self._zero / frame.time_base)
        pictures = PictureEncoder(self._container, spec, first=frame, clip=self._clip, origin=origin)
        self._carry_over(self._container, spec, frame, origin=origin * frame.time_base)
        return pictures

    def _carry_over(self, output: OutputContainer, spec: VideoSpec, first: Frame, *, origin: Fraction) -> None:
        """Adds what the clip holds beside its pictures; `origin` is the time in the clip that becomes zero."""
        metadata = self._clip.metadata
        self._left_out = write_tags(output, self._clip, first)
        if self._kind != "matte" and not spec.hdr10 and (metadata.mastering_display or metadata.content_light):
            self._left_out.append("the HDR10 metadata")
        if self._source is not None:
            self._carried = CarriedTracks(
                self._source, output, origin=origin, sound=self._audio, subtitles=self._subtitles
            )

    def _open_source(self) -> InputContainer | None:
        """Opens the clip at once, so that it may be moved before the first frame."""
        try:
            return open_container(self._clip.path)
        except (av.FFmpegError, OSError) as exc:
            what = "sound" if self._audio else "subtitles"
            self._notes.append(
                f"the {what} of {self._clip.path} can't be read: {getattr(exc, 'strerror', None) or exc}"
            )
            return None

    def _mux(self, packets: list[Packet[Any]]) -> None:
        """Writes picture packets, each after the sound that comes before it."""
        assert self._container is not None
        for packet in packets:
            if self._carried is not None and packet.dts is not None and packet.time_base:
                self._carried.write_until(packet.dts * packet.time_base)
            self._container.mux(packet)

    def _close(self) -> None:
        """Closes the clip and the container, which writes the container's index."""
        if self._source is not None:
            self._source.close()
        container, self._container = self._container, None
        if container is not None:
            container.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors of the system and of FFmpeg into an OutputError."""
        with output_errors(self.path):
            try:
                yield
            except av.FFmpegError as exc:
                if isinstance(exc, OSError):
                    raise
                raise OutputError(f"can't write {self.path}: {exc.strerror or exc}") from exc


def _timescale(time_base: Fraction) -> int:
    """The ticks a second that the mov muxer counts a track with, taken for the whole file so that edits are exact."""
    ticks = time_base.denominator
    while ticks < _LEAST_TIMESCALE:
        ticks *= 2
    return ticks
