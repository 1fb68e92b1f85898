"""Presentation times put right: single wrong ones, and clocks that jump.

A frame whose time is missing, repeated or out of order is moved between its neighbours, and no other frame is
(`retimed`). Where the clock of a transport or program stream jumps, as where recordings were joined, one offset for all
of its streams lets the second part follow the first (`Clock`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any, TypeVar

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet

T = TypeVar("T")

_LOOKAHEAD = 16  # frames that are compared where a time is in doubt
_DISCONTINUOUS = 0x0200  # AVFMT_TS_DISCONT: containers whose clock may jump
_VP8_SHOWN = 0x10  # a bit of a packet's first byte (RFC 6386, 9.1)
_BACK = Fraction(1, 10)  # seconds that decoding times of one stream may run back
_FORWARD = 10  # seconds that one stream may pause, as FFmpeg's `dts_delta_threshold`
_APART = Fraction(1, 2)  # seconds that streams which jump together may lie apart


class Moves:
    """Counts frames that were moved in time.

    Attributes:
        moved: how many frames did not keep their own time.
        kept: how many did.
    """

    def __init__(self) -> None:
        self.moved = 0
        self.kept = 0

    @property
    def note(self) -> str | None:
        """What happened, as a sentence; None where nothing did, or where the clip has no times at all."""
        if not self.moved or not self.kept:
            return None
        frames = "1 frame had" if self.moved == 1 else f"{self.moved} frames had"
        return f"{frames} a wrong or missing timestamp and moved between the neighbours; all others kept theirs"


def retimed(items: Iterable[T], time: Callable[[T], int | None], *, step: int, moves: Moves) -> Iterator[tuple[T, int]]:
    """Gives each item a time after its predecessor's, moving as few as possible.

    An item keeps its time where it belongs to the longest increasing run of the next few; the others are placed at
    equal distances between their neighbours. One item is held back, a few where a time is in doubt.

    Args:
        items: in presentation order.
        time: an item's own time in ticks, or None.
        step: ticks from one item to the next, as a rule.
        moves: counts what was moved.
    """
    source = iter(items)
    window: deque[T] = deque()
    last: int | None = None
    while True:
        window.extend(islice(source, max(0, 2 - len(window))))
        if not window:
            return
        if _doubtful([time(item) for item in window], last, step):
            window.extend(islice(source, max(0, _LOOKAHEAD - len(window))))
        times = [time(item) for item in window]
        first = _first_kept(times, last)
        if first == 0 and times[0] is not None:
            last = times[0]
            moves.kept += 1
        else:
            last = _between(last, None if first is None else times[first], first or 0, step)
            moves.moved += 1
        yield window.popleft(), last


def _doubtful(times: Sequence[int | None], last: int | None, step: int) -> bool:
    """Whether the next times don't follow each other as they should, or leap."""
    known = [*([] if last is None else [last]), *times]
    for one, other in pairwise(known):
        if one is None or other is None or not one < other <= one + 10 * step:
            return True
    return times[0] is None


def _first_kept(times: Sequence[int | None], last: int | None) -> int | None:
    """The first item of the longest increasing run after `last`; of equally long ones that of the lowest times."""
    length = [0] * len(times)
    for i in reversed(range(len(times))):
        if (value := times[i]) is not None and (last is None or value > last):
            later = (length[j] for j in range(i + 1, len(times)) if length[j] and _after(times[j], value))
            length[i] = 1 + max(later, default=0)
    longest = max(length)
    if longest == 0:
        return None
    return min((i for i in range(len(times)) if length[i] == longest), key=lambda i: (times[i] or 0, i))


def _after(one: int | None, other: int) -> bool:
    return one is not None and one > other


def _between(last: int | None, following: int | None, before: int, step: int) -> int:
    """The time of the first of `before` items (at least 1) that lie between two times; either may be unknown."""
    before = max(1, before)
    if last is None:
        return 0 if following is None else following - step * before
    if following is None:
        return last + step
    return max(last + 1, last + (following - last) // (before + 1))


def shown(packets: Iterable[Packet[Any]], stream: Any) -> Iterator[Packet[Any]]:
    """The packets that each give a picture: VP8 and VP9 have others besides, which later ones refer to."""
    if stream.codec_context.name == "vp9":
        merge = BitStreamFilterContext("vp9_superframe", stream)
        for packet in packets:
            yield from merge.filter(packet if packet.size else None)
    elif stream.codec_context.name == "vp8":
        yield from (packet for packet in packets if not packet.size or bytes(packet)[0] & _VP8_SHOWN)
    else:
        yield from packets


class Clock:
    """The packets of a file with times on one clock, which goes on where the file's own jumps.

    Where a packet doesn't follow its stream's last one, all streams get one new offset, with which it follows the end
    of all of them; each stream takes the offset when its own packets jump. Containers with one clock pass unchanged.

    Attributes:
        jumps: how often the clock has jumped so far.
    """

    def __init__(self, container: InputContainer) -> None:
        self.jumping = bool(container.format.flags & _DISCONTINUOUS)
        self._container = container
        self._offsets = [Fraction(0)]
        self._offset: dict[int, Fraction] = {}
        self._last: dict[int, Fraction] = {}  # decoding times
        self._end: dict[int, Fraction] = {}  # of what is shown

    @property
    def jumps(self) -> int:
        return len(self._offsets) - 1

    def demux(self, streams: Sequence[Any]) -> Iterator[Packet[Any]]:
        """The packets of `streams`, the empty ones at the end too, their times on one clock. Raises av.FFmpegError."""
        if not self.jumping:
            yield from self._container.demux(*streams)
            return
        wanted = {stream.index for stream in streams}
        heard = [s for s in self._container.streams if s.type in ("video", "audio") or s.index in wanted]
        for packet in self._container.demux(*heard):
            self._place(packet)
            if packet.stream.index in wanted:
                yield packet

    def _place(self, packet: Packet[Any]) -> None:
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is None or not packet.time_base:
            return
        base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        index = packet.stream.index
        at = (packet.pts if packet.pts is not None else ticks) * base
        offset = self._offset.get(index, self._offsets[-1])
        if index in self._last and not -_BACK <= ticks * base + offset - self._last[index] <= _FORWARD:
            offset = self._another(at, index)
        lasts = (packet.duration or 0) * base
        self._offset[index] = offset
        self._last[index] = ticks * base + offset
        self._end[index] = max(at + offset + lasts, self._end.get(index, at + offset))
        shift = round(offset / base)
        if packet.pts is not None:
            packet.pts += shift
        if packet.dts is not None:
            packet.dts += shift

    def _another(self, at: Fraction, index: int) -> Fraction:
        """The offset with which a packet follows its stream: one that is known, the newest first, or a new one."""
        for offset in reversed(self._offsets):
            if abs(at + offset - self._end[index]) <= _APART:
                return offset
        self._offsets.append(max(self._end.values()) - at)
        return self._offsets[-1]
