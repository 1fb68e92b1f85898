"""What the reader sees of a clip, without decoding more than its first frame.

Times come from the index of MP4 and MOV files. Other containers are listed packet by packet without decoding: whole up
to 64 MiB; of larger ones the first thousand packets tell whether the rate varies, and the number of frames is an
estimate from length and rate.

The rate counts as variable where one frame's duration is off the typical one by more than a tick and a millisecond
(containers round times to their ticks).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from os.path import isdir
from pathlib import Path
from statistics import median_low
from typing import Any

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.stream import VideoStream

from trackmatte.errors import InputError
from trackmatte.io.color import tags_from_codes
from trackmatte.io.convert import displayed_size, orientation
from trackmatte.io.images import probe_folder
from trackmatte.io.metadata import read_metadata
from trackmatte.io.opening import open_media, video_stream, video_streams
from trackmatte.io.timing import Clock, Moves, retimed, shown
from trackmatte.types import AudioInfo, ClipInfo, ColorTags, Metadata

_LISTED_BYTES = 64 << 20
_LISTED_PACKETS = 1000
_PRIMING = Fraction(1, 10)  # seconds of sound before 0 that only prime its decoder
_FASTEST = 1000  # frames a second that an average may tell
_FAR = 10  # seconds from which a clip's start is no start any more
_INTERLACED = (2, 3, 4, 5)  # AVFieldOrder: TT, BB, TB, BT


def probe(path: str | Path, *, stream: int | None = None) -> ClipInfo:
    """Describes a video file or a folder of images.

    Args:
        path: the file or folder.
        stream: index in the file of the video stream to read; None for FFmpeg's own choice.

    Returns:
        The clip as `open_clip` reads it.

    Raises:
        InputError: it can't be read; the message says why.
    """
    if isdir(path):
        return probe_folder(path)
    times = _times(path, stream)
    with open_media(path) as container:
        video = video_stream(container, path, stream)
        frame = _first_frame(container, video, path)
        return _describe(path, container, video, frame, times)


@dataclass(frozen=True, slots=True)
class _Times:
    """What the index or the packets tell, in ticks."""

    frames: int | None
    end: int | None
    variable: bool | None
    jumps: int = 0


def _describe(
    path: str | Path, container: InputContainer, stream: VideoStream, frame: av.VideoFrame, times: _Times
) -> ClipInfo:
    base = _fraction(stream.time_base) or Fraction(1, 1000)
    rotation, mirrored = _orientation(frame)
    aspect = _pixel_aspect(stream)
    width, height = displayed_size(frame.width, frame.height, pixel_aspect=aspect, rotation=rotation)
    start = frame.pts if frame.pts is not None else stream.start_time or 0
    duration = _duration(container, stream, times, start)
    rate = _fraction(stream.average_rate or stream.guessed_rate or stream.base_rate)
    guessed = _fraction(stream.guessed_rate)
    if rate and rate > _FASTEST and guessed and guessed < rate:  # raw DV tells its ticks
        rate = guessed
    if times.variable and times.frames and duration:
        rate = (times.frames / duration).limit_denominator(1_000_000)
    frames = times.frames
    if frames is None and duration is not None and rate:
        frames = round(duration * rate)
    components = frame.format.components
    metadata = read_metadata(container, stream, frame)
    sounds = [s.codec_context for s in container.streams.audio if s.codec_context is not None]
    return ClipInfo(
        path=str(path),
        width=width,
        height=height,
        coded_width=frame.width,
        coded_height=frame.height,
        rotation=rotation,
        mirrored=mirrored,
        pixel_aspect=aspect,
        rate=rate,
        variable_rate=times.variable,
        time_base=base,
        start_seconds=start * base,
        duration_seconds=duration,
        frames=frames,
        codec=stream.codec_context.name,
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in components),
        interlaced=frame.interlaced_frame or int(getattr(stream.codec_context, "field_order", 0)) in _INTERLACED,
        has_alpha=any(c.is_alpha for c in components) or stream.metadata.get("alpha_mode") == "1",
        color=_color(stream, frame),
        audio=tuple(
            AudioInfo(codec=sound.name, sample_rate=sound.sample_rate, channels=sound.channels) for sound in sounds
        ),
        container=container.format.name,
        stream=stream.index,
        zero_seconds=_zero(container, stream, start * base),
        metadata=metadata,
        notes=tuple(_notes(container, stream, start * base, times, metadata)),
    )


def _times(path: str | Path, index: int | None) -> _Times:
    with open_media(path) as container:
        stream = video_stream(container, path, index)
        if _indexed(container, stream):
            entries = [entry for entry in stream.index_entries if not entry.is_discard]
            steps = [b.timestamp - a.timestamp for a, b in pairwise(entries)]
            return _Times(len(entries), None, _varies(steps, _fraction(stream.time_base)))
        return _listed(container, stream, whole=os.path.getsize(path) <= _LISTED_BYTES)


def _listed(container: InputContainer, stream: VideoStream, *, whole: bool) -> _Times:
    """Lists packets without decoding; those that come before the first keyframe don't count."""
    times: list[int] = []
    last = packets = 0
    complete = True
    clock = Clock(container)
    try:
        for packet in shown(clock.demux([stream]), stream):
            time = packet.dts if packet.pts is None else packet.pts
            packets += packet.size > 0
            if packet.size > 0 and time is not None and (times or packet.is_keyframe):
                times.append(time)
                last = packet.duration or last
            if not whole and packets >= _LISTED_PACKETS:
                complete = False
                break
    except av.FFmpegError:
        pass  # the reader says what is wrong there
    if stream.codec_context.reorder_depth:
        times = sorted(time for time in times if time >= times[0])
    else:
        step = median_low([b - a for a, b in pairwise(times) if b > a] or [1])
        times = [time for _, time in retimed(times, lambda time: time, step=step, moves=Moves())]
    steps = [b - a for a, b in pairwise(times)]
    if not complete:
        steps = steps[:-16]  # frames that belong in between were not seen yet
        return _Times(None, None, _varies(steps, _fraction(stream.time_base)))
    end = times[-1] + (last or (steps[-1] if steps else 0)) if times else None
    return _Times(len(times) or packets, end, _varies(steps, _fraction(stream.time_base)), clock.jumps)


def _zero(container: InputContainer, stream: VideoStream, start: Fraction) -> Fraction:
    """The earliest time of pictures and sound where that is below 0 or far from it, else 0."""
    starts = [start]
    for sound in container.streams.audio:
        if sound.start_time is not None and sound.time_base:
            starts.append(sound.start_time * Fraction(sound.time_base.numerator, sound.time_base.denominator))
    earliest = min(starts)
    return earliest if start < 0 or earliest < -_PRIMING or earliest > _FAR else Fraction(0)


def _notes(
    container: InputContainer, stream: VideoStream, start: Fraction, times: _Times, metadata: Metadata
) -> Iterator[str]:
    others = [other for other in video_streams(container) if other.index != stream.index]
    if others:
        known = ", ".join(
            f"{other.index}"
            + f" ({other.codec_context.width}x{other.codec_context.height})" * (other.codec_context.width > 0)
            for other in others
            if other.codec_context is not None
        )
        yield f"video stream {stream.index} is read; others are {known}; choose with stream=N (--stream N)"
    zero = _zero(container, stream, start)
    if zero:
        yield f"the clip's own times begin at {float(zero):.3f} s; videos are written from 0, picture and sound alike"
    if times.jumps:
        often = "once" if times.jumps == 1 else f"{times.jumps} times"
        yield f"the clip's clock jumps ({often}); picture and sound go on without a gap"
    if metadata.left_out:
        yield f"the clip holds what no output carries over: {', '.join(metadata.left_out)}"


def _varies(steps: list[int], time_base: Fraction | None) -> bool | None:
    if not steps:
        return None
    tolerance = 1 + Fraction(1, 1000) / (time_base or Fraction(1, 1000))
    typical = median_low(steps)
    return any(abs(step - typical) > tolerance for step in steps)


def _indexed(container: InputContainer, stream: VideoStream) -> bool:
    return "mp4" in container.format.name and stream.frames > 0 and len(stream.index_entries) > 0


def _first_frame(container: InputContainer, stream: VideoStream, path: str | Path) -> av.VideoFrame:
    reason = "its data hold no picture"
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    return frame
            except av.FFmpegError as error:
                if error.errno in (errno.ENOMEM, errno.EAGAIN):  # also where no thread can be started
                    raise MemoryError(str(error.strerror)) from error
                reason = str(error.strerror)
    except av.FFmpegError as error:
        reason = str(error.strerror)
    raise InputError(f"{path}: no frame can be decoded ({reason}); the file is damaged or its format is not known here")


def _orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    try:
        side_data: Any = frame.side_data
    except ValueError:  # PyAV has no name for some of it, and hands out none then; mirroring is not known
        return round(-frame.rotation / 90) % 4 * 90, False
    if Type.DISPLAYMATRIX not in side_data:
        return 0, False
    return orientation(struct.unpack("=9i", bytes(side_data[Type.DISPLAYMATRIX])))


def _pixel_aspect(stream: VideoStream) -> Fraction:
    aspect = _fraction(stream.sample_aspect_ratio)
    return aspect if aspect and aspect > 0 else Fraction(1)


def _fraction(value: Any) -> Fraction | None:
    """A number of PyAV's as a Fraction; None where it is unset."""
    return Fraction(value.numerator, value.denominator) if value else None


def _duration(container: InputContainer, stream: VideoStream, times: _Times, start: int) -> Fraction | None:
    base = _fraction(stream.time_base) or Fraction(1, 1000)
    if times.end is not None:
        return (times.end - start) * base
    if stream.duration is not None:
        return stream.duration * base
    return None if container.duration is None else Fraction(container.duration, 1_000_000)


def _color(stream: VideoStream, frame: av.VideoFrame) -> ColorTags:
    """The stream's tags; what it leaves out is taken from its first frame."""
    context: Any = stream.codec_context

    def code(name: str, unspecified: int) -> int:
        value = int(getattr(context, name))
        return value if value != unspecified else int(getattr(frame, name))

    return tags_from_codes(
        primaries=code("color_primaries", 2),
        transfer=code("color_trc", 2),
        matrix=code("colorspace", 2),
        range=code("color_range", 0),
        pixel_format=frame.format.name,
    )
