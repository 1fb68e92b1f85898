"""The default backend: FFmpeg's libraries through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from trackmatte.io.convert import Converter
from trackmatte.io.deinterlace import deinterlaced
from trackmatte.io.integrity import JOINABLE, cut_short
from trackmatte.io.opening import check_file, open_media, video_stream
from trackmatte.io.probe import probe
from trackmatte.io.reader import Damaged, DamageLog, Picture, Reader
from trackmatte.io.timing import Clock

_SHORTLY = 3  # packets


class AvReader(Reader):
    """Streams a file through PyAV, decoding with several threads.

    Decoding starts at the first frame that decodes by itself, as FFmpeg's own tools do: of a broadcast recording that
    begins in the middle of a group of pictures, the frames before the first keyframe are left out. Frames that an
    edit list hides are left out too.
    """

    def __init__(self, path: str, *, damaged: Literal["stop", "keep"] = "stop", stream: int | None = None) -> None:
        """Probes the file, and keeps it open: it may be moved while it is read. Raises InputError."""
        check_file(path)
        self._file = open(path, "rb")  # noqa: SIM115
        try:
            super().__init__(probe(path, stream=stream), damaged=damaged)
        except BaseException:
            self._file.close()
            raise
        self._size = os.fstat(self._file.fileno()).st_size

    def _pictures(self, log: DamageLog) -> Iterator[Picture]:
        convert = Converter(self.info)
        with open_media(self._place()) as container:
            frames = self._decoded(container, video_stream(container, self.info.path, self.info.stream), log)
            interlaced = 0
            try:
                for frame, source in deinterlaced(frames):
                    interlaced += source.interlaced_frame
                    yield Picture(source.pts, source.duration or None, convert(frame))
            finally:
                if interlaced and not self.info.interlaced:
                    self.notes.append(f"{interlaced} frames after the first are interlaced and were deinterlaced")

    def _place(self) -> str:
        """Where the file can be opened again, also when it was moved or removed meanwhile (on Linux)."""
        path, descriptor = self.info.path, f"/proc/self/fd/{self._file.fileno()}"
        try:
            here = os.path.samestat(os.stat(path), os.fstat(self._file.fileno()))
        except OSError:
            here = False
        return path if here or not os.path.exists(descriptor) else descriptor

    def close(self) -> None:
        """Ends the reading; iterating again is an error."""
        super().close()
        self._file.close()

    def _decoded(self, container: InputContainer, stream: VideoStream, log: DamageLog) -> Iterator[av.VideoFrame]:
        """Decodes a stream from where the container stands.

        Where data end early, the last frames that the decoder holds may lie beyond missing ones, as many as it
        reorders: they come only where `log` keeps damage. So do frames that the decoder patched up.

        Yields:
            Frames in presentation order.

        Raises:
            Damaged: at damage, where `log` says to stop.
        """
        decoder = _Decoder(stream, log, joinable=container.format.name in JOINABLE)
        incomplete = False
        for packet, torn in _packets(container, stream, log):
            if torn and decoder.started:
                incomplete = True
                if not log.keep:
                    break
                log.lost("a packet is incomplete")
                continue
            yield from decoder.frames(packet)
        shortage = self._shortage(container, stream, seen=decoder.seen + incomplete)
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

    def _shortage(self, container: InputContainer, stream: VideoStream, *, seen: int) -> str | None:
        """What is missing at the end: packets that the index lists, or bytes that were there, or ought to be."""
        if self._closed:
            return None
        if lost := self._size - os.fstat(self._file.fileno()).st_size:
            return f"the file changed while it was read, by {abs(lost):,} bytes" if lost > 0 else None
        if "mp4" in container.format.name:
            listed = len(stream.index_entries)
            return f"the data end before the last of {listed} frames" if seen < listed else None
        missing = cut_short(self._file)
        return f"the data end early, {missing}" if missing else None


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


def _packets(
    container: InputContainer, stream: VideoStream, log: DamageLog
) -> Iterator[tuple[Packet[VideoStream], bool]]:
    """The stream's packets, without the empty one that stands for the end, and whether each is torn.

    A transport stream marks a packet as corrupt where its continuity counter jumps, or just before: data are lost, or
    another recording was joined on. Then the clock jumps too, or a keyframe follows, and nothing is lost.
    """
    clock = Clock(container)
    doubtful: list[Packet[VideoStream]] = []
    jumps = 0
    try:
        for packet in clock.demux([stream]):
            if not packet.size:
                continue
            if not doubtful and not packet.is_corrupt:
                yield packet, False
                continue
            if not doubtful:
                jumps = clock.jumps
            doubtful.append(packet)
            joined = clock.jumps > jumps or (packet.is_keyframe and len(doubtful) > 1)
            if joined or len(doubtful) > _SHORTLY:
                yield from ((one, one.is_corrupt and not joined) for one in doubtful)
                doubtful = []
    except av.FFmpegError as error:
        log.lost(str(error.strerror))
    yield from ((one, one.is_corrupt) for one in doubtful)
