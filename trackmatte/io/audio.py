"""The clip's sound, carried over into a video that is being written.

Sound packets are read by opening the clip a second time, and go into the output between its pictures, by time, so
that nothing piles up however long the clip is. A codec that the container takes is copied bit by bit; another one is
decoded and encoded again, as AAC (.mp4, .mov, .mkv) or Opus (.webm). Every sound stream comes along, with its language
and title.

Sound is never a reason to lose the pictures: a stream that can't be decoded is left out, a damaged packet is skipped
(and becomes silence where the sound is encoded again), sound that can't be read any further ends there. What happened
is told in `SoundTracks.notes`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet

from trackmatte.io.opening import open_container
from trackmatte.io.timing import Clock

# What each container is given as it is: what the common players and editors expect to find in it.
_COPIED = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    "mov": {"aac", "mp3", "ac3", "eac3", "alac"},
    "webm": {"opus", "vorbis"},
}
_MOV_PCM = ("pcm_s16", "pcm_s24", "pcm_s32", "pcm_f32", "pcm_f64")
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
_OPUS_RATE = 48000
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_LEAD = 2  # packets before zero that a decoder may need, where an edit list can hide them
_INTERLEAVING = 1  # seconds that streams of one file may lie apart
_OVERLAP = Fraction(1, 10)  # seconds
_SEEK_MARGIN = 2  # seconds read before the start, so that decoders have settled when it comes


class _Track(Protocol):
    """One sound stream on its way."""

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Output packets that an input packet gives, times counted from the output's zero."""

    def flush(self) -> list[Packet[Any]]:
        """The last output packets."""


class SoundTracks:
    """All sound streams of a clip on their way into an output container.

    Attributes:
        notes: sentences on what could not be carried over.
    """

    def __init__(self, clip: str, output: OutputContainer, *, origin: Fraction = Fraction(0)) -> None:
        """Adds a stream to `output` for each sound stream of the clip; its header must not be written yet.

        Args:
            clip: the file to read sound from.
            output: the container that is written.
            origin: time in the clip that becomes zero; sound before it is left out.
        """
        self.notes: list[str] = []
        self._output = output
        self._origin = origin
        self._reached = Fraction(-1)
        self._source: InputContainer | None = None
        self._tracks: dict[int, _Track] = {}
        self._packets: Iterator[Packet[Any]] = iter(())
        try:
            self._source = open_container(clip)
        except (av.FFmpegError, OSError) as exc:
            self.notes.append(f"the sound of {clip} can't be read: {_text(exc)}")
            return
        streams = [stream for stream in self._source.streams.audio if self._add(stream)]
        if streams:
            clock = Clock(self._source)
            if not clock.jumping:  # where it may jump, no time tells the place
                self._seek()
            self._packets = clock.demux(streams)

    def _add(self, stream: AudioStream) -> bool:
        """Prepares one stream; False where it has to be left out."""
        number = self._source.streams.audio.index(stream) + 1 if self._source else 0
        try:
            self._tracks[stream.index] = _make_track(stream, self._output, origin=self._origin)
        except (av.FFmpegError, ValueError, OSError) as exc:
            self.notes.append(f"sound stream {number} was left out: {_text(exc)}")
            return False
        return True

    def _seek(self) -> None:
        """Skips what lies well before the origin."""
        target = self._origin - _SEEK_MARGIN
        if self._source is not None and target > _SEEK_MARGIN:
            with contextlib.suppress(av.FFmpegError):  # a file that can't seek is read from its beginning
                self._source.seek(int(target * av.time_base), backward=True)

    def write_until(self, seconds: Fraction) -> None:
        """Writes the sound that comes before a time of the output.

        Raises av.FFmpegError or OSError where the output can't be written.
        """
        while self._reached < seconds and (packet := self._next_packet()) is not None:
            for converted in self._convert(packet):
                self._output.mux(converted)

    def finish(self, end: Fraction | None) -> None:
        """Writes what is left of the sound, up to a time of the output where one is given, and closes the clip.

        Raises av.FFmpegError or OSError where the output can't be written.
        """
        while (packet := self._next_packet()) is not None:
            if end is not None and self._reached >= end + _INTERLEAVING:
                break
            if end is None or self._reached < end:
                for converted in self._convert(packet):
                    self._output.mux(converted)
        for track in self._tracks.values():
            self._output.mux(track.flush())
        self.close()

    def _next_packet(self) -> Packet[Any] | None:
        """The next packet with a time, which `_reached` then is; None at the end of the sound."""
        while True:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as exc:
                self.notes.append(f"the sound ends early, the clip is damaged there: {_text(exc)}")
                packet = None
            if packet is None:
                self._packets = iter(())
                return None
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.time_base:
                self._reached = time * packet.time_base - self._origin
                return packet

    def _convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """A packet that can't be decoded gives nothing, and is told once."""
        try:
            return self._tracks[packet.stream.index].convert(packet)
        except av.FFmpegError as exc:
            note = f"damaged sound was left out: {_text(exc)}"
            if note not in self.notes:
                self.notes.append(note)
            return []

    def close(self) -> None:
        """Closes the clip."""
        if self._source is not None:
            self._source.close()
            self._source = None
        self._packets = iter(())


def _text(exc: BaseException) -> str:
    """A foreign error in a few words."""
    return str(getattr(exc, "strerror", None) or exc)


def _make_track(stream: AudioStream, output: OutputContainer, *, origin: Fraction) -> _Track:
    """The way of one stream into a container. Raises ValueError or av.FFmpegError where there is none."""
    if stream.codec_context is None:
        raise ValueError("its codec is unknown")
    codec, container = stream.codec_context.codec.canonical_name, output.format.name
    if _is_copied(codec, container):
        return _Copy(stream, output, origin=origin)
    return _Transcode(stream, output, origin=origin)


def _is_copied(codec: str, container: str) -> bool:
    """Whether a container is given this codec as it is."""
    if container == "matroska":
        return True
    return codec in _COPIED[container] or (container == "mov" and codec.startswith(_MOV_PCM))


def _copy_metadata(source: AudioStream, target: Any) -> None:
    """Language and title; the rest describes the source's file."""
    for key in ("language", "title"):
        if key in source.metadata:
            target.metadata[key] = source.metadata[key]


class _Copy:
    """Packets as they are, moved in time.

    In .mp4 and .mov the packets that a decoder needs before zero come along, and an edit list hides them. .mkv and
    .webm have no times below zero but those of the priming that the codec declares: there the sound starts with the
    first packet from then on (at most one packet, 20 ms or so, is missing at the start).
    """

    def __init__(self, stream: AudioStream, output: OutputContainer, *, origin: Fraction) -> None:
        if not stream.time_base:
            raise ValueError("it has no time base")
        self._target = output.add_stream_from_template(stream)
        _copy_metadata(stream, self._target)
        self._shift = round(origin / stream.time_base)
        self._edits = output.format.name in ("mp4", "mov")
        priming = Fraction(int(stream.codec_context.delay), stream.rate or _OPUS_RATE)
        self._least = -math.ceil(priming / stream.time_base)
        self._overlap = round(_OVERLAP / stream.time_base)
        self._last: int | None = None

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or packet.size == 0:
            return []
        time -= self._shift
        least = 1 - _LEAD * (packet.duration or 0) if self._edits else self._least
        if self._last is not None and self._last - self._overlap <= time <= self._last:
            time = self._last + 1  # parts that were joined may overlap a little
        if time < least or (self._last is not None and time <= self._last):
            return []  # before the start, or running backwards, which no container takes
        self._last = packet.pts = packet.dts = time
        packet.stream = self._target
        return [packet]

    def flush(self) -> list[Packet[Any]]:
        return []


class _Transcode:
    """Decode, cut and resample, encode."""

    def __init__(self, stream: AudioStream, output: OutputContainer, *, origin: Fraction) -> None:
        codec = "libopus" if output.format.name == "webm" else "aac"
        channels = stream.codec_context.layout.nb_channels
        channels = channels if channels in _LAYOUTS else 2
        rate = _OPUS_RATE if codec == "libopus" or stream.rate not in _AAC_RATES else stream.rate
        self._source = stream
        self._origin = origin
        self._rate = rate
        self._graph: Graph | None = None
        self._target: Any = output.add_stream(codec, rate=rate, layout=_LAYOUTS[channels], bit_rate=96000 * channels)
        self._target.time_base = Fraction(1, rate)
        self._target.codec_context.time_base = Fraction(1, rate)
        _copy_metadata(stream, self._target)

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        return [out for frame in self._source.codec_context.decode(packet) for out in self._encode(frame)]

    def flush(self) -> list[Packet[Any]]:
        packets: list[Packet[Any]] = []
        with contextlib.suppress(av.EOFError):  # a decoder that was never fed has nothing to flush
            packets += [out for frame in self._source.codec_context.decode(None) for out in self._encode(frame)]
        if self._graph is None:
            return packets
        self._graph.push(None)
        packets += self._pull()
        packets += self._target.encode(None)
        return packets

    def _encode(self, frame: Any) -> list[Packet[Any]]:
        if frame.pts is None:
            return []
        if self._graph is None:
            self._graph = self._build(frame)
        self._graph.push(frame)
        return self._pull()

    def _pull(self) -> list[Packet[Any]]:
        """Encodes what the graph has ready."""
        assert self._graph is not None
        packets: list[Packet[Any]] = []
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while True:
                frame: Any = self._graph.pull()
                frame.pts = round((frame.pts * frame.time_base - self._origin) * self._rate)
                frame.time_base = Fraction(1, self._rate)
                packets += self._target.encode(frame)
        return packets

    def _build(self, frame: Any) -> Graph:
        """Cut at the origin, resample, fill gaps with silence; set up from the first frame as it was decoded."""
        graph = Graph()
        context = self._target.codec_context
        forms = f"sample_fmts={context.format.name}:channel_layouts={context.layout.name}:sample_rates={self._rate}"
        graph.link_nodes(
            graph.add_abuffer(
                sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name,
                time_base=frame.time_base,
            ),
            graph.add("atrim", f"start={float(self._origin):.9f}"),
            graph.add("aresample", f"{self._rate}:async=1"),
            graph.add("aformat", forms),
            graph.add("abuffersink"),
        ).configure()  # fmt: skip
        return graph
