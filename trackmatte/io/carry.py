"""The clip's sound and subtitles, carried over into a video that is being written.

Their packets are read from the clip opened a second time, and go into the output between its pictures, by time, so that
nothing piles up however long the clip is. How each stream gets there is told in `audio` and `subtitles`. Each
that the container can take comes along, with its language and title.

Sound is never a reason to lose the pictures: a stream that can't be decoded is left out, a damaged packet is skipped,
sound that can't be read any further ends there. What happened is told in `CarriedTracks.notes`.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from trackmatte.io.audio import sound_track
from trackmatte.io.subtitles import subtitle_track
from trackmatte.io.timing import Clock

_INTERLEAVING = 1  # seconds that streams of one file may lie apart
_SEEK_MARGIN = 2  # seconds read before the start, so that decoders have settled when it comes


class _Track(Protocol):
    """One stream on its way."""

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Output packets that an input packet gives, times counted from the output's zero."""

    def flush(self, end: Fraction | None) -> list[Packet[Any]]:
        """The last output packets; what is shown longer ends at `end`, in seconds of the output."""


class CarriedTracks:
    """Streams of a clip on their way into an output container.

    Attributes:
        notes: sentences on what went wrong with the sound.
        left_out: subtitle streams that the container can't take, in words.
    """

    def __init__(
        self,
        source: InputContainer,
        output: OutputContainer,
        *,
        origin: Fraction = Fraction(0),
        sound: bool = True,
        subtitles: bool = True,
    ) -> None:
        """Adds a stream to `output` for each stream that is carried; its header must not be written yet.

        Args:
            source: the clip, opened for this alone; `close` closes it.
            output: the container that is written.
            origin: time in the clip that becomes zero; what lies before it is left out.
            sound: whether sound comes along.
            subtitles: whether subtitles do.
        """
        self.notes: list[str] = []
        self.left_out: list[str] = []
        self._output = output
        self._origin = origin
        self._reached = Fraction(-1)
        self._source = source
        self._tracks: dict[int, _Track] = {}
        self._packets: Iterator[Packet[Any]] = iter(())
        self._waiting: deque[Packet[Any]] = deque()
        if sound:
            for number, stream in enumerate(source.streams.audio, 1):
                self._add_sound(stream, f"sound stream {number}")
        self._leading = frozenset(self._tracks)  # sound, where there is any, tells how far reading has come
        if subtitles:
            for other in source.streams.subtitles:
                self._add_subtitles(other)
        if self._tracks:
            clock = Clock(source)
            if not clock.jumping:  # where it may jump, no time tells the place
                self._seek()
            self._packets = clock.demux([source.streams[index] for index in self._tracks])

    def _add_sound(self, stream: Any, name: str) -> None:
        try:
            self._tracks[stream.index] = sound_track(stream, self._output, origin=self._origin)
        except (av.FFmpegError, ValueError, OSError) as exc:
            self.notes.append(f"{name} was left out: {_text(exc)}")

    def _add_subtitles(self, stream: Any) -> None:
        track = subtitle_track(stream, self._output, origin=self._origin)
        if track is None:
            codec = "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name
            self.left_out.append(f"subtitle stream {stream.index} ({codec})")
        else:
            self._tracks[stream.index] = track

    def _seek(self) -> None:
        """Skips what lies well before the origin."""
        target = self._origin - _SEEK_MARGIN
        if target > _SEEK_MARGIN:
            with contextlib.suppress(av.FFmpegError):  # a file that can't seek is read from its beginning
                self._source.seek(int(target * av.time_base), backward=True)

    def write_until(self, seconds: Fraction) -> None:
        """Writes what comes before a time of the output.

        Raises av.FFmpegError or OSError where the output can't be written.
        """
        while self._reached < seconds and (packet := self._next()) is not None:
            self._put(packet, until=seconds)
        self._put(None, until=seconds)

    def finish(self, end: Fraction | None) -> None:
        """Writes what is left, up to a time of the output where one is given, and closes the clip.

        Raises av.FFmpegError or OSError where the output can't be written.
        """
        while (packet := self._next()) is not None:
            if end is not None and self._reached >= end + _INTERLEAVING:
                break
            if end is None or self._reached < end or packet.stream.index not in self._leading:
                self._put(packet, until=end)
        self._put(None, until=end)
        for track in self._tracks.values():
            for packet in track.flush(end):
                self._mux(packet)
        self.close()

    def _put(self, packet: Packet[Any] | None, *, until: Fraction | None) -> None:
        """Writes sound at once, subtitles once their time has come: in some files they lie far ahead."""
        if packet is not None and packet.stream.index not in self._leading:
            self._waiting.append(packet)
            packet = None
        due = [packet] if packet is not None else []
        while self._waiting and (until is None or self._time(self._waiting[0]) < until):
            due.append(self._waiting.popleft())
        for one in due:
            for converted in self._convert(one):
                self._mux(converted)

    def _mux(self, packet: Packet[Any]) -> None:
        """Writes a packet; one that the container refuses is left out. Raises OSError where nothing can be written."""
        try:
            self._output.mux(packet)
        except (av.ArgumentError, av.InvalidDataError) as exc:
            self._note(f"sound that the container can't take was left out: {_text(exc)}")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _next(self) -> Packet[Any] | None:
        """The next packet with a time, None at the end; `_reached` tells how far reading has come."""
        while True:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as exc:
                self.notes.append(f"the sound ends early, the clip is damaged there: {_text(exc)}")
                packet = None
            if packet is None:
                self._packets = iter(())
                return None
            if (packet.pts is not None or packet.dts is not None) and packet.time_base:
                if packet.stream.index in self._leading or not self._leading:
                    self._reached = self._time(packet)
                return packet

    def _time(self, packet: Packet[Any]) -> Fraction:
        """When a packet is due, in seconds of the output."""
        ticks = packet.pts if packet.pts is not None else packet.dts
        return Fraction((ticks or 0) * packet.time_base) - self._origin

    def _convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """A packet that can't be decoded gives nothing, and is told once."""
        try:
            return self._tracks[packet.stream.index].convert(packet)
        except av.FFmpegError as exc:
            self._note(f"damaged sound was left out: {_text(exc)}")
            return []

    def close(self) -> None:
        """Closes the clip."""
        self._source.close()
        self._packets = iter(())


def _text(exc: BaseException) -> str:
    """A foreign error in a few words."""
    return str(getattr(exc, "strerror", None) or exc)
