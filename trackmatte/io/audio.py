"""Sound streams on their way into an output: copied bit by bit where the container takes the codec, else encoded again.

Sound that is encoded again becomes AAC (.mp4, .mov, .mkv) or Opus (.webm); damaged packets become silence there.
"""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet

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
_OVERLAP = Fraction(1, 10)  # seconds


def sound_track(stream: AudioStream, output: OutputContainer, *, origin: Fraction) -> CopiedSound | EncodedSound:
    """The way of one stream into a container. Raises ValueError or av.FFmpegError where there is none."""
    if stream.codec_context is None:
        raise ValueError("its codec is unknown")
    codec, container = stream.codec_context.codec.canonical_name, output.format.name
    known = stream.codec_context.sample_rate and stream.codec_context.layout.nb_channels  # not where it begins late
    if known and _is_copied(codec, container):
        return CopiedSound(stream, output, origin=origin)
    return EncodedSound(stream, output, origin=origin)


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


class CopiedSound:
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

    def flush(self, end: Fraction | None) -> list[Packet[Any]]:
        return []


class EncodedSound:
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

    def flush(self, end: Fraction | None) -> list[Packet[Any]]:
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
