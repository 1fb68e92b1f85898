"""What all backends share: numbering and timing of pictures, and what happens at damage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

from trackmatte.errors import DamagedClipError, UsageError
from trackmatte.io.timing import Moves, retimed
from trackmatte.types import ClipInfo, Frame, ImageArray


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A displayed picture with what its source says of its time.

    Attributes:
        pts: presentation time in ticks, or None where the source has none.
        duration: in ticks, or None.
        image: (H, W, 3) RGB, uint8 or uint16.
    """

    pts: int | None
    duration: int | None
    image: ImageArray


class Damaged(Exception):
    """Damage that ends the reading; the argument says what it is."""


class DamageLog:
    """Collects what could not be read, or ends the reading at the first of it."""

    def __init__(self, *, keep: bool, unit: str = "packet") -> None:
        """Starts empty; with `keep`, reading goes on after damage; `unit` is what data come in."""
        self.keep = keep
        self._unit = unit
        self._lost = 0
        self._marred = 0
        self._rest = ""

    def lost(self, reason: str) -> None:
        """Some data could not be decoded. Raises Damaged where reading is to stop."""
        self._stop(reason)
        self._lost += 1

    def marred(self) -> None:
        """The decoder patched up the picture that comes next. Raises Damaged where reading is to stop."""
        self._stop("the next one decodes in part only")
        self._marred += 1

    def ends(self, what: str) -> None:
        """Data end before they should. Raises Damaged where reading is to stop."""
        self._stop(what)
        self._rest = what

    def sentence(self, path: str, good: int) -> str | None:
        """What was wrong with the clip of which `good` frames were read; None where nothing was."""
        parts = []
        if self._lost:
            parts.append(f"{self._lost} {self._unit}{'s' * (self._lost > 1)} could not be decoded")
        if self._marred:
            parts.append(f"{self._marred} frame{'s' * (self._marred > 1)} decoded in part")
        if self._rest:
            parts.append(self._rest)
        return f"{path} is damaged: {', '.join(parts)}; kept the {good} frames that decode" if parts else None

    def _stop(self, reason: str) -> None:
        if not self.keep:
            raise Damaged(reason)


class Reader(ABC):
    """A clip that can be read from its beginning any number of times, one frame in memory at a time.

    Attributes:
        info: the clip as probed.
        damage: after a reading that kept what decodes: a sentence saying what was lost, else None.
        notes: after a reading: sentences on what was put right in it, such as frames whose time was wrong.
    """

    unit = "packet"

    def __init__(self, info: ClipInfo, *, damaged: Literal["stop", "keep"] = "stop") -> None:
        """Prepares reading; decoding starts with the first iteration."""
        self.info = info
        self.damage: str | None = None
        self.notes: list[str] = []
        self._keep = damaged == "keep"
        self._closed = False

    @abstractmethod
    def _pictures(self, log: DamageLog) -> Iterator[Picture]:
        """Decodes from the beginning, in presentation order; tells `log` of damage."""

    def __iter__(self) -> Generator[Frame, None, None]:
        """Reads from the beginning.

        Yields:
            Frames in presentation order, their `pts` strictly increasing.

        Raises:
            DamagedClipError: decoding failed, after the good frames, unless damage is to be kept.
            InputError: the clip can't be read any more. UsageError: the reader was closed.
        """
        if self._closed:
            raise UsageError(f"{self.info.path} was closed; open it again to read it")
        self.damage, self.notes = None, []
        log = DamageLog(keep=self._keep, unit=self.unit)
        good, moves = 0, Moves()
        try:
            for frame in timed(self._pictures(log), self.info, moves):
                yield frame
                good += 1
                if self._closed:
                    raise UsageError(f"{self.info.path} was closed while it was being read, after {good} frames")
        except Damaged as error:
            raise DamagedClipError(
                f"{self.info.path} is damaged after {good} good frames ({error}); "
                "get a whole copy, or go on with what decodes (damaged='keep', --damaged keep)",
                good_frames=good,
            ) from error
        self.damage = log.sentence(self.info.path, good)
        if moves.note:
            self.notes.append(moves.note)

    def close(self) -> None:
        """Ends the reading; iterating again is an error."""
        self._closed = True

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def timed(pictures: Iterator[Picture], info: ClipInfo, moves: Moves) -> Generator[Frame, None, None]:
    """Numbers pictures and gives each its time (see `retimed`) and its duration.

    A frame lasts until the next one starts; the last one as long as its source says, or as the one before.

    Yields:
        One frame for each picture, each when the next is known; the last one also where `pictures` ends in an error.
    """
    step = max(1, round(1 / (info.rate * info.time_base))) if info.rate else 1
    damage: list[Damaged] = []
    waiting: Frame | None = None
    own = _until_damage(pictures, damage)
    for index, (picture, pts) in enumerate(retimed(own, lambda one: one.pts, step=step, moves=moves)):
        if waiting is not None:
            step = pts - waiting.pts
            yield replace(waiting, duration=step)
        waiting = Frame(index, pts, info.time_base, picture.image, picture.duration)
    if waiting is not None:
        yield _last(waiting, step)
    if damage:
        raise damage[0]


def _until_damage(pictures: Iterator[Picture], damage: list[Damaged]) -> Iterator[Picture]:
    """Ends where the pictures end in damage, which `damage` then holds: those that are held back still come."""
    try:
        yield from pictures
    except Damaged as error:
        damage.append(error)


def _last(frame: Frame, step: int) -> Frame:
    return frame if frame.duration else replace(frame, duration=step)
