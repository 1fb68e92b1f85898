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
from trackmatte.io.integrity import JOINABLE, cut_short
from trackmatte.io.opening import open_media, video_stream
from trackmatte.io.probe import probe
from trackmatte.io.reader import Damaged, DamageLog, Picture, Reader


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

    Where data end early, the last frames that the decoder holds may lie beyond missing ones, as many as it reorders:
    they come only where `log` keeps damage. So do frames that the decoder patched up.

    Yields:
        Frames in presentation order.

    Raises:
        Damaged: at damage, where `log` says to stop.
    """
    decoder = _Decoder(stream, log, joinable=container.format.name in JOINABLE)
    incomplete = False
    for packet in _packets(container, stream, log):
        if packet.is_corrupt and decoder.started:
            incomplete = True
            if not log.keep:
                break
            log.lost("a packet is incomplete")
            continue
        yield from decoder.frames(packet)
    shortage = _shortage(container, stream, path, seen=decoder.seen + incomplete)
    rest = list(decoder.frames(None))
    if (shortage or incomplete) and not log.keep:
        rest = rest[: max(0, len(rest) - stream.codec_context.reorder_depth)]
    yield from rest
    if shortage:
        log.ends(shortage)
    if incomplete and not log.keep:
        raise Damaged("a packet is incomplete")
    if waiting := decoder.waiting():
        log.ends(f"the last {waiting} frames can't be decoded")


class _Decoder:
    """Feeds packets to a stream's decoder and watches what comes out.

    Attributes:
        started: damage counts: a frame came out, or the container is not one that may be cut anywhere.
        seen: how many packets went in.
    """

    def __init__(self, stream: VideoStream, log: DamageLog, *, joinable: bool) -> None:
        self.started = not joinable
        self.seen = 0
        self._stream = stream
        self._log = log
        self._joinable = joinable
        self._waiting: set[int] = set()

    def frames(self, packet: Packet[VideoStream] | None) -> Iterator[av.VideoFrame]:
        """The frames that a packet completes; those that the decoder still holds for None."""
        if packet is not None:
            self.seen += 1
            if packet.pts is not None and not packet.is_discard:
                self._waiting.add(packet.pts)
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError as error:
            if self.started:
                self._log.lost(str(error.strerror))
            return
        for frame in frames:
            if frame.is_corrupt:
                if not self.started:
                    continue
                self._log.marred()
            self.started = True
            last = frame.pts
            if last is not None:
                self._waiting = {pts for pts in self._waiting if pts > last}
            yield frame

    def waiting(self) -> int:
        """How many packets went in whose time is after the last frame that came out.

        Where an error is not the first thing that the decoder hands out at the end, PyAV drops it and all after it.
        """
        return 0 if self._joinable else len(self._waiting)


def _packets(container: InputContainer, stream: VideoStream, log: DamageLog) -> Iterator[Packet[VideoStream]]:
    """The stream's packets, without the empty one that stands for the end."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.FFmpegError as error:
        log.lost(str(error.strerror))


def _shortage(container: InputContainer, stream: VideoStream, path: str, *, seen: int) -> str | None:
    """What is missing at the end: fewer packets came than the index lists, or the file is shorter than it says."""
    if "mp4" in container.format.name:
        listed = len(stream.index_entries)
        return f"the data end before the last of {listed} frames" if seen < listed else None
    missing = cut_short(path)
    return f"the data end early, {missing}" if missing else None
