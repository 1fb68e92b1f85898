"""The backend `ffmpeg`: the system's ffmpeg program, for formats that PyAV's own libraries can't decode."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal

import av
from av.filter import Graph

from trackmatte.errors import InputError, UsageError
from trackmatte.io.convert import Converter
from trackmatte.io.deinterlace import LEAST_SIDE, OPTIONS
from trackmatte.io.integrity import JOINABLE, cut_short
from trackmatte.io.opening import OPENING, check_file
from trackmatte.io.probe import probe
from trackmatte.io.probe_ffmpeg import probe_with_ffprobe
from trackmatte.io.reader import DamageLog, Picture, Reader
from trackmatte.types import ClipInfo

# Formats that interlaced codecs have; bwdif takes them as they are, and passes frames that aren't marked unchanged.
_FIELDWISE = ("yuv4", "yuvj4", "yuva4", "gray")
_DECODE_ERRORS = ("Error while decoding", "Error submitting packet", "corrupt decoded frame", "Decode error rate")


class FfmpegReader(Reader):
    """Has the system's ffmpeg (5.1 or newer) decode, and converts the stored planes that it pipes as `av` does.

    Frames come through a pipe with their times and are not kept. At damage, with `stop`, ffmpeg may hold back the
    last few good frames before it.
    """

    def __init__(self, path: str, *, damaged: Literal["stop", "keep"] = "stop", stream: int | None = None) -> None:
        """Probes the file with PyAV or, where that can't, with ffprobe.

        Raises:
            UsageError: ffmpeg-python or the program isn't installed. InputError: the file can't be read.
        """
        self._ffmpeg = import_ffmpeg()
        check_file(path)
        try:
            info = probe(path, stream=stream)
        except InputError:
            info = probe_with_ffprobe(self._ffmpeg, path)
        super().__init__(info, damaged=damaged)
        self._last: int | None = None

    def _pictures(self, log: DamageLog) -> Iterator[Picture]:
        convert = Converter(self.info)
        with tempfile.TemporaryFile() as messages:
            good, self._last = 0, None
            with _piped(self._command(keep=log.keep), messages) as process:
                for frame in _sited(_raw_frames(process), self._chroma_location()):
                    good += 1
                    self._check_clock(frame)
                    yield Picture(self._ticks(frame), None, convert(frame))
                code = process.wait()
            _report(self.info, log, code=code, good=good, messages=messages)

    def _check_clock(self, frame: av.VideoFrame) -> None:
        """Raises InputError where the clock of a transport stream jumps, which only `av` puts right."""
        ticks, before = self._ticks(frame), self._last
        self._last = ticks if ticks is not None else before
        if self.info.container not in JOINABLE or ticks is None or before is None:
            return
        if not -1 <= (ticks - before) * self.info.time_base <= 10:
            raise InputError(f"the clock of {self.info.path} jumps, as where clips were joined; use the backend av")

    def _ticks(self, frame: av.VideoFrame) -> int | None:
        """The frame's time in the clip's ticks; the pipe's are a whole fraction of them."""
        base = frame.time_base or self.info.time_base
        return None if frame.pts is None else round(frame.pts * base / self.info.time_base)

    def _chroma_location(self) -> str | None:
        """Where chroma samples lie between luma samples, which the pipe doesn't carry."""
        try:
            streams = self._ffmpeg.probe(f"file:{self.info.path}", select_streams=str(self.info.stream))["streams"]
        except self._ffmpeg.Error:
            return None
        location: str | None = streams[0].get("chroma_location") if streams else None
        return None if location == "unspecified" else location

    def _command(self, *, keep: bool) -> list[str]:
        base = self.info.time_base
        output = {
            "map": f"0:{self.info.stream}",
            "vcodec": "rawvideo",
            "pix_fmt": self.info.pixel_format,
            "format": "nut",
            "fps_mode": "passthrough",
            "enc_time_base": f"{base.numerator}/{base.denominator}",
        }
        given: dict[str, Any] = {"noautorotate": None, **OPENING}
        width, height = self.info.coded_width, self.info.coded_height
        fieldwise = self.info.interlaced or self.info.pixel_format.startswith(_FIELDWISE)
        if fieldwise and min(width, height) >= LEAST_SIDE:
            # The program drops the frame that a filter holds where it builds it anew: at another size it is not to.
            given["reinit_filter"] = 0
            output["vf"] = f"scale={width}:{height},bwdif={OPTIONS}"
        stream = self._ffmpeg.input(f"file:{self.info.path}", **given).output("pipe:", **output)
        stop = [] if keep or self.info.container in JOINABLE else ["-xerror"]
        command: list[str] = stream.global_args("-nostdin", "-loglevel", "error", "-copyts", *stop).compile()
        return command


def import_ffmpeg() -> Any:
    """The module `ffmpeg` of ffmpeg-python. Raises UsageError where it or the program isn't installed."""
    try:
        import ffmpeg
    except ImportError as error:
        raise UsageError("the backend ffmpeg isn't installed; run: pip install 'trackmatte[ffmpeg]'") from error
    if missing := [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]:
        raise UsageError(f"the program {missing[0]} isn't there; install FFmpeg 5.1 or newer, or use the backend av")
    return ffmpeg


@contextmanager
def _piped(command: list[str], messages: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages)
    try:
        yield process
    finally:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def _raw_frames(process: subprocess.Popen[bytes]) -> Iterator[av.VideoFrame]:
    try:
        with av.open(process.stdout, format="nut") as container:
            yield from container.decode(video=0)
    except av.FFmpegError:
        return  # the pipe ended early: the program's exit code and messages tell


def _sited(frames: Iterator[av.VideoFrame], location: str | None) -> Iterator[av.VideoFrame]:
    """Marks where the frames' chroma samples lie, so that they convert to RGB as the source's own."""
    if location is None:
        yield from frames
        return
    graph: Graph | None = None
    for frame in frames:
        if graph is None:
            graph = Graph()
            graph.link_nodes(
                graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
                ),
                graph.add("setparams", f"chroma_location={location}"),
                graph.add("buffersink"),
            ).configure()
        graph.vpush(frame)
        yield graph.vpull()


def _report(info: ClipInfo, log: DamageLog, *, code: int, good: int, messages: IO[bytes]) -> None:
    """Turns what ffmpeg said, and how many frames came, into damage or an error."""
    messages.seek(0)
    text = messages.read().decode(errors="replace")
    lines = [re.sub(r"^(\[[^]]*\] )+", "", line).strip() for line in text.splitlines()]
    if good == 0:
        reason = lines[-1] if lines else "no frames came"
        raise InputError(f"{info.path} can't be read by the ffmpeg program ({reason}); try the backend av")
    if missing := cut_short(info.path):
        log.ends(f"the data end early, {missing}")
    elif code != 0:
        log.lost(lines[-1] if lines else f"ffmpeg ended with {code}")
    for line in lines if info.container not in JOINABLE else ():
        if line.startswith(_DECODE_ERRORS):
            log.lost(line)
