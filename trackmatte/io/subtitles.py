"""Subtitles on their way into an output: copied where the container takes the codec, text in another form else.

Text goes from and to SubRip, ASS, WebVTT and MPEG-4 timed text through FFmpeg's decoders and encoders; .mkv takes
pictures (DVD, DVB, Blu-ray) as they are. Styles that the other form doesn't know are lost.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.subtitle import SubtitleSet

_COPIED = {
    "matroska": {"subrip", "ass", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"},
    "webm": {"webvtt"},
    "mp4": {"mov_text"},
    "mov": {"mov_text"},
}
_ENCODERS = {"matroska": "srt", "webm": "webvtt", "mp4": "mov_text", "mov": "mov_text"}
_TEXT = {"subrip", "ass", "webvtt", "mov_text", "text"}
_TICKS = 1000  # a second, of text in another form
_FIELDS = 8  # of an event that FFmpeg's decoders write before its text


def subtitle_track(stream: Any, output: OutputContainer, *, origin: Fraction) -> SubtitleTrack | None:
    """The way of one subtitle stream into a container; None where there is none.

    Args:
        stream: of the clip.
        output: the container; its header must not be written yet.
        origin: time in the clip that becomes zero.
    """
    if stream.codec_context is None or not stream.time_base:
        return None
    codec, container = stream.codec_context.codec.canonical_name, output.format.name
    if codec not in _TEXT | _COPIED[container]:
        return None
    try:
        return SubtitleTrack(stream, output, copied=codec in _COPIED[container], origin=origin)
    except (av.FFmpegError, ValueError):
        return None


class SubtitleTrack:
    """Subtitles moved in time, those that reach over the start cut to it.

    .mp4 and .mov last as long as their longest stream: there one subtitle is held back, so that the last one ends with
    the pictures.
    """

    def __init__(self, stream: Any, output: OutputContainer, *, copied: bool, origin: Fraction) -> None:
        self._source = stream
        self._origin = origin
        self._copied = copied
        self._holding = output.format.name in ("mp4", "mov")
        self._held: Packet[Any] | None = None
        self._last = 0
        if copied:
            self._base = Fraction(stream.time_base)
            self._target: Any = output.add_stream_from_template(stream)
        else:
            self._base = Fraction(1, _TICKS)
            stream.codec_context.open(strict=False)  # its header tells the styles
            self._target = output.add_stream(_ENCODERS[output.format.name])
            self._target.codec_context.subtitle_header = stream.codec_context.subtitle_header
            self._target.time_base = self._target.codec_context.time_base = self._base
        for key in ("language", "title"):
            if key in stream.metadata:
                self._target.metadata[key] = stream.metadata[key]
        self._target.disposition = stream.disposition.value

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Output packets that an input packet gives. Raises av.FFmpegError."""
        if packet.pts is None or not packet.size:
            return []
        start = round((packet.pts * packet.time_base - self._origin) / self._base)
        length = round((packet.duration or 0) * packet.time_base / self._base)
        if start < 0 and start + length <= 0:
            return []
        length += min(start, 0)
        start = max(start, self._last)
        written = packet if self._copied else self._encoded(packet, milliseconds=length)
        if written is None:
            return []
        written.pts = written.dts = self._last = start
        written.duration, written.time_base, written.stream = length, self._base, self._target
        if not self._holding:
            return [written]
        ready, self._held = self._held, written
        if ready is None:
            return []
        if ready.pts is not None and ready.duration is not None:
            ready.duration = min(ready.duration, start - ready.pts)  # no two are shown at once there
        return [ready]

    def flush(self, end: Fraction | None) -> list[Packet[Any]]:
        """The one that was held back, no longer than to `end`, in seconds of the output."""
        if (last := self._held) is None:
            return []
        if end is not None and last.pts is not None and last.duration is not None:
            last.duration = max(0, min(last.duration, round(end / self._base) - last.pts))
        return [last]

    def _encoded(self, packet: Packet[Any], *, milliseconds: int) -> Packet[Any] | None:
        """The text in the container's own form; None where there is none, as in the gaps of timed text."""
        decoded = self._source.codec_context.decode2(packet)
        events: list[bytes] = [rect.ass for rect in decoded.rects] if decoded is not None else []
        if not events:
            return None
        texts = [event.split(b",", _FIELDS)[-1] for event in events]
        head = events[0].split(b",", _FIELDS)[:_FIELDS]
        event = b",".join([*head, b"\\N".join(texts)])
        encoded: Packet[Any] = self._target.codec_context.encode_subtitle(
            SubtitleSet.create(text=event, start=0, end=milliseconds)
        )
        return encoded
