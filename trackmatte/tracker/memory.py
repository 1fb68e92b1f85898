"""The tracker's only tensor state: what each object remembers of other frames, in slots that never grow with the clip.

Frames are known by their index in the clip. As in SAM 2's memory bank (arXiv 2408.00714, section 4; `sam2_base.py`),
an object keeps its conditioning frames, those that were prompted: the first of them for good, and the nearest others.
Of the frames that were tracked it keeps the maps of six and the pointers of fifteen: the last ones; or, with a stride,
the maps of the last one and of those before it whose index the stride divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trackmatte.kernels.transfer import upload

_INDICES = 256  # of rows and slots that are kept on the device


@dataclass(frozen=True, slots=True)
class MemorySize:
    """Capacity of one object's memory, and how it is read.

    Attributes:
        maps: maps read at a time, one conditioning frame's among them.
        pointers: pointers read at a time, one conditioning frame's among them.
        tokens: positions of a map, h * w.
        map_width: channels of a map.
        pointer_width: channels of a pointer.
        stride: from the last frame but one on, maps of every stride-th frame are remembered.
        conditioning: most conditioning frames that are read at a time.
        past_pointers: conditioning frames that are still to come count by their maps alone.
        signed_ages: the age of a frame that is still to come is negative, else positive too.
    """

    maps: int
    pointers: int
    tokens: int
    map_width: int
    pointer_width: int
    stride: int = 1
    conditioning: int = 6
    past_pointers: bool = True
    signed_ages: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Memories:
    """What B objects remember: conditioning frames first, then from the oldest map, or the latest pointer, on.

    Attributes:
        maps: (B, M, h * w, C_map) bfloat16.
        times: M times when a map was made: 0 for a conditioning frame, else from 1, the oldest that may be remembered,
            to `MemorySize.maps` - 1, the last frame.
        pointers: (B, P, C) float32.
        ages: B times P, how many frames ago each pointer was written.
        longest: the age that counts as 1 when ages are encoded.
    """

    maps: torch.Tensor
    times: tuple[int, ...]
    pointers: torch.Tensor
    ages: tuple[tuple[int, ...], ...]
    longest: int


@dataclass(slots=True)
class _Row:
    """Which frame each slot of an object holds.

    Attributes:
        conditioning: slots of conditioning frames by index, in the order in which they were written.
        maps: index by slot, of tracked frames.
        pointers: index by slot, of tracked frames.
    """

    conditioning: dict[int, int] = field(default_factory=dict)
    maps: dict[int, int] = field(default_factory=dict)
    pointers: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """Which slots one object reads at a frame. Objects of equal `shape` are read together."""

    times: tuple[int, ...]
    maps: tuple[int, ...]
    pointers: tuple[int, ...]
    ages: tuple[int, ...]

    @property
    def shape(self) -> tuple[tuple[int, ...], int]:
        """The times of the maps, and how many pointers there are."""
        return self.times, len(self.pointers)


class MemoryBank:
    """Slots for a number of objects, each object a row. Rows are handed out by `claim` and freed by `evict`."""

    def __init__(
        self, size: MemorySize, *, device: torch.device, rows: int = 1, conditioning: int | None = None
    ) -> None:
        """Reserves the slots of `rows` objects; more rows are reserved when more objects join.

        Args:
            size: of one object's memory.
            device: where it lies.
            rows: how many objects are expected.
            conditioning: conditioning frames that each keeps; None for as many as are read at a time.
        """
        self._size = size
        self._kept = conditioning or size.conditioning
        self._device = device
        self._rows: list[_Row | None] = []
        self._maps = torch.empty(0)
        self._pointers = torch.empty(0)
        self._indices: dict[tuple[int, ...], torch.Tensor] = {}
        self._reserve(rows)

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return self._maps.nbytes + self._pointers.nbytes

    def claim(self) -> int:
        """A row for a new object, which remembers nothing until its first `write`."""
        for place, row in enumerate(self._rows):
            if row is None:
                self._rows[place] = _Row()
                return place
        self._reserve(2 * len(self._rows))
        return self.claim()

    def write(
        self,
        rows: Sequence[int],
        index: int,
        maps: torch.Tensor,
        pointers: torch.Tensor,
        *,
        conditioning: Sequence[bool],
    ) -> None:
        """Stores what the objects of `rows` keep of a frame, over what is least wanted.

        Args:
            rows: B rows.
            index: of the frame.
            maps: (B, h * w, C_map).
            pointers: (B, C).
            conditioning: B times, whether the frame was prompted and stays.
        """
        places: dict[tuple[int, int], list[int]] = {}
        for i, (place, stays) in enumerate(zip(rows, conditioning, strict=True)):
            row = self._row(place)
            if stays:
                slot = self._conditioning_slot(row, index)
                slots = slot, slot
            else:
                slots = self._map_slot(index), self._pointer_slot(index)
                row.maps[slots[0]] = row.pointers[slots[1]] = index
            places.setdefault(slots, []).append(i)
        for (map_slot, pointer_slot), those in places.items():
            where = self._index(tuple(rows[i] for i in those))
            self._maps[:, map_slot].index_copy_(0, where, self._some(maps, those).to(self._maps.dtype))
            self._pointers[:, pointer_slot].index_copy_(0, where, self._some(pointers, those))

    def forget_around(self, place: int, index: int) -> None:
        """Forgets tracked frames as near as maps are read, which a correction may have made untrue."""
        reach = self._size.stride * self._size.maps
        row = self._row(place)
        for held in (row.maps, row.pointers):
            for slot in [slot for slot, frame in held.items() if abs(frame - index) <= reach]:
                del held[slot]

    def reading(self, place: int, index: int, *, pointers: int, reverse: bool = False) -> Reading:
        """What an object reads at a frame.

        Args:
            place: its row.
            index: of the frame about to be tracked.
            pointers: most pointers to read, one conditioning frame's among them; at most the capacity.
            reverse: the clip is tracked backwards.
        """
        row, sign = self._row(place), -1 if reverse else 1
        chosen = self._nearest(row, index)
        others = {frame: slot for frame, slot in row.conditioning.items() if frame not in chosen}
        times, maps = [0] * len(chosen), list(chosen.values())
        for time, frame in self._wanted(index, sign):
            slot = self._map_slot(frame)
            if row.maps.get(slot) == frame:
                times.append(time)
                maps.append(slot)
            elif frame in others:
                times.append(time)
                maps.append(others[frame])
        ages, found = [], []
        for frame, slot in chosen.items():
            age = sign * (index - frame)
            if age >= 0 or not self._size.past_pointers:
                ages.append(age if self._size.signed_ages else abs(age))
                found.append(slot)
        for age in range(1, pointers):
            frame = index - sign * age
            slot = self._pointer_slot(frame)
            if row.pointers.get(slot) == frame:
                ages.append(age)
                found.append(slot)
            elif frame in others:
                ages.append(age)
                found.append(others[frame])
        return Reading(tuple(times), tuple(maps), tuple(found), tuple(ages))

    def select(self, rows: Sequence[int], readings: Sequence[Reading], *, pointers: int) -> Memories:
        """What objects remember.

        Args:
            rows: B rows.
            readings: B of equal `shape`.
            pointers: as for `reading`.
        """
        return Memories(
            self._gather(self._maps, rows, [one.maps for one in readings]),
            readings[0].times,
            self._gather(self._pointers, rows, [one.pointers for one in readings]),
            tuple(one.ages for one in readings),
            max(pointers - 1, 1),
        )

    def evict(self, place: int) -> None:
        """Frees the row of an object that left."""
        self._rows[place] = None

    def reset(self) -> None:
        """Frees all rows."""
        self._rows = [None] * len(self._rows)

    def _row(self, place: int) -> _Row:
        row = self._rows[place]
        assert row is not None
        return row

    def _nearest(self, row: _Row, index: int) -> dict[int, int]:
        """The conditioning frames that are read at `index`: the first one, and the nearest others."""
        frames = list(row.conditioning)
        if len(frames) > self._size.conditioning:
            others = sorted(frames[1:], key=lambda frame: abs(frame - index))
            frames = [frames[0], *others[: self._size.conditioning - 1]]
        return {frame: row.conditioning[frame] for frame in frames}

    def _wanted(self, index: int, sign: int) -> list[tuple[int, int]]:
        """The tracked frames whose maps are read at `index`, and the time of each, from the oldest on."""
        maps, stride = self._size.maps, self._size.stride
        nearest = sign * ((sign * index - 2) // stride * stride)
        wanted = [(maps - ago, nearest - sign * (ago - 2) * stride) for ago in range(maps - 1, 1, -1)]
        return [*wanted, (maps - 1, index - sign)]

    def _conditioning_slot(self, row: _Row, index: int) -> int:
        """The slot of a conditioning frame; where all are taken, that of the oldest but the first."""
        if index in row.conditioning:
            return row.conditioning[index]
        if len(row.conditioning) < self._kept:
            slot = len(row.conditioning)
        else:
            slot = row.conditioning.pop(list(row.conditioning)[min(1, self._kept - 1)])
        row.conditioning[index] = slot
        return slot

    def _map_slot(self, index: int) -> int:
        """Frames that the stride divides take turns; the others share the last slot, as only the latest is wanted."""
        size = self._size
        turns = size.maps - 1
        return self._kept + (turns if index % size.stride else index // size.stride % turns)

    def _pointer_slot(self, index: int) -> int:
        return self._kept + index % (self._size.pointers - 1)

    def _gather(self, slots: torch.Tensor, rows: Sequence[int], order: Sequence[Sequence[int]]) -> torch.Tensor:
        if len(rows) == 1:
            return slots[rows[0]].index_select(0, self._index(tuple(order[0])))[None]
        flat = [row * slots.shape[1] + slot for row, one in zip(rows, order, strict=True) for slot in one]
        found = slots.flatten(0, 1).index_select(0, self._index(tuple(flat)))
        return found.reshape(len(rows), -1, *found.shape[1:])

    def _some(self, each: torch.Tensor, those: Sequence[int]) -> torch.Tensor:
        """Some of an axis, which is not copied where it is all of it."""
        return each if len(those) == len(each) else each.index_select(0, self._index(tuple(those)))

    def _index(self, numbers: tuple[int, ...]) -> torch.Tensor:
        """The numbers on the device; those of late are kept there, since slots take turns."""
        if numbers not in self._indices:
            if len(self._indices) >= _INDICES:
                self._indices.clear()
            self._indices[numbers] = upload(np.array(numbers, np.int64), self._device)
        return self._indices[numbers]

    def _reserve(self, rows: int) -> None:
        size, held = self._size, len(self._rows)
        slots = self._kept + size.maps - 1 + (size.stride > 1)
        maps = torch.zeros(rows, slots, size.tokens, size.map_width, dtype=torch.bfloat16, device=self._device)
        kept = self._kept + size.pointers - 1
        pointers = torch.zeros(rows, kept, size.pointer_width, device=self._device)
        if held:
            maps[:held], pointers[:held] = self._maps, self._pointers
        self._maps, self._pointers = maps, pointers
        self._rows += [None] * (rows - held)
