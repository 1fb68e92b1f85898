"""Clips as streams of frames, whatever decodes them.

Frames come as displayed: upright, with square pixels, as RGB with the stream's matrix and range undone, one in memory
at a time. Interlaced sources are deinterlaced, an alpha plane is left out. Times are the container's own: those of an
edit list, a start offset or a variable rate stay as they are.

The backends give the same frames, with the same times, on what all of them can read:

- `av` (default): FFmpeg's libraries through PyAV.
- `ffmpeg`: the system's ffmpeg program, for formats that PyAV's own libraries can't decode.
- `decord`: 8-bit progressive video alone; a pixel may differ by a few levels, since it converts colour its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from os.path import isdir
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from trackmatte.errors import UsageError
from trackmatte.types import ClipInfo, Frame

Backend = Literal["av", "decord", "ffmpeg"]


class VideoReader(Protocol):
    """A clip being read.

    Attributes:
        info: the clip as probed.
        damage: after a reading that kept what decodes: a sentence saying what was lost, else None.
        notes: after a reading: sentences on what was put right in it, such as frames whose time was wrong.
    """

    info: ClipInfo
    damage: str | None
    notes: list[str]

    def __iter__(self) -> Iterator[Frame]:
        """Frames in presentation order; a second iteration starts again from the beginning."""

    def close(self) -> None:
        """Ends the reading."""

    def __enter__(self) -> VideoReader:
        """Returns the reader, to be closed at the end of the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the reader."""


def open_clip(
    path: str | Path,
    *,
    backend: Backend = "av",
    damaged: Literal["stop", "keep"] = "stop",
    rate: Fraction | None = None,
    stream: int | None = None,
) -> VideoReader:
    """Opens a video file or a folder of images for reading.

    Args:
        path: the file or folder.
        backend: what decodes a file.
        damaged: at damage in the middle, `stop` with an error after the good frames, or `keep` what decodes and say
            in `damage` what was lost.
        rate: frames a second of a folder of images; None for 24. A file has its own.
        stream: index in the file of the video stream to read, for the backends `av` and `ffmpeg`; None for FFmpeg's own
            choice.

    Returns:
        The reader, to be used as a context manager.

    Raises:
        InputError: the clip can't be opened. UsageError: an unknown backend, or one that is not installed; a rate
            that is not above zero, or for a file.
    """
    if rate is not None and rate <= 0:
        raise UsageError(f"a rate of {rate} frames a second; give a number above zero")
    if isdir(path):
        if stream is not None:
            raise UsageError(f"{path} is a folder of images; a stream can be chosen in a file alone")
        from trackmatte.io.images import ImageFolderReader

        return ImageFolderReader(path, rate=rate, damaged=damaged)
    if rate is not None:
        raise UsageError(f"{path} has its own rate; a rate can be given for a folder of images alone")
    if backend == "av":
        from trackmatte.io.decode_av import AvReader

        return AvReader(str(path), damaged=damaged, stream=stream)
    if backend == "decord":
        if stream is not None:
            raise UsageError("the backend decord can't choose a stream; use the backend av")
        from trackmatte.io.decode_decord import DecordReader

        return DecordReader(str(path), damaged=damaged)
    if backend == "ffmpeg":
        from trackmatte.io.decode_ffmpeg import FfmpegReader

        return FfmpegReader(str(path), damaged=damaged, stream=stream)
    raise UsageError(f"unknown backend {backend!r}; the backends are av, decord and ffmpeg")
