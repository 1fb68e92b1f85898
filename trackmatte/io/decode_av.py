"""The default backend: FFmpeg's libraries through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from trackmatte.io.convert import Converter
from trackmatte.io.deinterlace import deinterlaced
from trackmatte.io.integrity import cut_short
from trackmatte.io.opening import open_media, video_stream
from trackmatte.io.probe import probe
from trackmatte.io.reader import Damaged, DamageLog, Picture, Reader

# Containers that may be cut anywhere: what comes before the first frame that decodes is not damage.
JOINABLE = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "vc1", "dv"})


class AvReader(Reader):
    """Streams a file through PyAV, decoding with several threads.

    Decoding starts at the first frame that decodes by itself, as FFmpeg's own tools do: of a broadcast recording that
    begins in the middle of a group of pictures, the frames before the first keyframe are left out. Frames that an
    edit list hides are left out too.
    """

    def __init__(self, path: str, *, damaged: Literal["stop", "keep"] = "stop") -> None:
        """Probes the file. Raises InputError."""
        super().__init__(probe(path), damaged=damaged)

    def _pictures(self, log: DamageLog) -> Iterator[Picture]:
        convert = Converter(self.info)
        with open_media(self.info.path) as container:
            frames = decoded(container, video_stream(container, self.info.path), self.info.path, log)
            if self.info.interlaced:
                for frame, (pts, duration) in deinterlaced(frames):
                    yield Picture(pts, duration, convert(frame))
            else:
                for frame in frames:
                    yield Picture(frame.pts, frame.duration or None, convert(frame))


def decoded(container: InputContainer, stream: VideoStream, path: str, log: DamageLog) -> Iterator[av.VideoFrame]:
    """Decodes a stream from where the container stands.

    Yields:
        Frames in presentation order; those that the decoder patched up only where `log` keeps damage.

    Raises:
        Damaged: at damage, where `log` says to stop.
    """
    started = container.format.name not in JOINABLE
    seen = good = 0
    incomplete = False
    for packet in _packets(container, stream, log):
        seen += packet.size > 0
        if packet.is_corrupt and started:
            incomplete = True
            if not log.keep:
                break
            log.lost("a packet is incomplete")
            continue
        for frame in _frames(packet, log, started=started):
            started = True
            good += 1
            yield frame
    if incomplete and not log.keep:
        for frame in stream.decode(None):
            good += 1
            yield frame
    if shortage := _shortage(container, stream, path, seen=seen, good=good):
        log.ends(shortage)
    if incomplete and not log.keep:
        raise Damaged("a packet is incomplete")


def _packets(container: InputContainer, stream: VideoStream, log: DamageLog) -> Iterator[Packet[VideoStream]]:
    try:
        yield from container.demux(stream)
    except av.FFmpegError as error:
        log.lost(error.strerror)


def _frames(packet: Packet[VideoStream], log: DamageLog, *, started: bool) -> Iterator[av.VideoFrame]:
    """The frames that a packet completes; before the start of a stream that may begin anywhere, good ones alone."""
    try:
        frames = packet.decode()
    except av.FFmpegError as error:
        if started:
            log.lost(error.strerror)
        return
    for frame in frames:
        if frame.is_corrupt:
            if not started:
                continue
            log.marred()
        yield frame


def _shortage(container: InputContainer, stream: VideoStream, path: str, *, seen: int, good: int) -> str | None:
    """What is missing at the end: fewer packets came than the index lists, or the file is shorter than it says."""
    if "mp4" in container.format.name:
        listed = len(stream.index_entries)
        return f"the data end after {good} of {listed} frames" if seen < listed else None
    missing = cut_short(path)
    return f"the data end early, {missing}" if missing else None
