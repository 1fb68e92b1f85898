"""The tracker's only tensor state: what each object remembers of earlier frames, in slots that never grow.

An object keeps the frame of its first prompt (the conditioning frame) for good, the maps of six earlier frames and the
pointers of the last fifteen, as SAM 2's memory bank does (arXiv 2408.00714, section 4; `sam2_base.py`). The six are the
last ones; or, with a stride, the last one and those before it whose number the stride divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class MemorySize:
    """Capacity of one object's memory.

    Attributes:
        maps: maps remembered at a time, the conditioning frame's among them.
        pointers: slots for pointers, the conditioning frame's among them.
        tokens: positions of a map, h * w.
        map_width: channels of a map.
        pointer_width: channels of a pointer.
        stride: from the last frame but one on, maps of every stride-th frame are remembered.
    """

    maps: int
    pointers: int
    tokens: int
    map_width: int
    pointer_width: int
    stride: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Memories:
    """What B objects remember, the conditioning frame first, then from the oldest map, or the latest pointer, on.

    Attributes:
        maps: (B, M, h * w, C_map) bfloat16; map 0 is the conditioning frame's, map M - 1 that of the last frame.
        pointers: (B, P, C) float32; pointer 0 is the conditioning frame's, pointer k that of k frames ago.
        ages: B times P, how many frames ago each pointer was written.
        longest: the age that counts as 1 when ages are encoded.
    """

    maps: torch.Tensor
    pointers: torch.Tensor
    ages: tuple[tuple[int, ...], ...]
    longest: int


class MemoryBank:
    """Slots for a number of objects, each object a row. Rows are handed out by `write` and freed by `evict`."""

    def __init__(self, size: MemorySize, *, device: torch.device, rows: int = 1) -> None:
        """Reserves the slots of `rows` objects; more rows are reserved when more objects join."""
        self._size = size
        self._device = device
        self._first: list[int | None] = []
        self._maps = torch.empty(0)
        self._pointers = torch.empty(0)
        self._reserve(rows)

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return self._maps.nbytes + self._pointers.nbytes

    def claim(self) -> int:
        """A row for a new object, which remembers nothing until its first `write`."""
        for row, first in enumerate(self._first):
            if first is None:
                self._first[row] = -1
                return row
        self._reserve(2 * len(self._first))
        return self.claim()

    def filled(self, row: int, step: int) -> tuple[int, int]:
        """How many maps and pointers the row has at `step`, the conditioning frame's not counted.

        Rows with equal numbers can be selected together.
        """
        return len(self._map_steps(row, step)), min(step - self._first_step(row), self._size.pointers) - 1

    def write(
        self, rows: Sequence[int], step: int, maps: torch.Tensor, pointers: torch.Tensor, *, first: Sequence[bool]
    ) -> None:
        """Stores what the objects of `rows` keep of frame `step`, over the oldest.

        Args:
            rows: B rows.
            step: number of the frame; each row is written at every step from its first one on.
            maps: (B, h * w, C_map).
            pointers: (B, C).
            first: B times, whether the frame is the row's conditioning frame; what the row held is then forgotten.
        """
        size = self._size
        for i, (row, is_first) in enumerate(zip(rows, first, strict=True)):
            if is_first:
                self._first[row] = step
            self._maps[row, 0 if is_first else self._map_slot(step)] = maps[i]
            self._pointers[row, 0 if is_first else 1 + step % (size.pointers - 1)] = pointers[i]

    def select(self, rows: Sequence[int], step: int, *, pointers: int) -> Memories:
        """What the objects of `rows` remember at frame `step`.

        Args:
            rows: B rows of equal `filled`.
            step: number of the frame about to be tracked.
            pointers: most pointers to return, the conditioning frame's among them; at most the capacity.
        """
        size = self._size
        last_pointers = min(self.filled(rows[0], step)[1], pointers - 1)
        map_slots = [0, *map(self._map_slot, self._map_steps(rows[0], step))]
        pointer_slots = [0, *(1 + (step - k) % (size.pointers - 1) for k in range(1, last_pointers + 1))]
        recent = range(1, last_pointers + 1)
        ages = tuple((step - self._first_step(row), *recent) for row in rows)
        return Memories(
            self._gather(self._maps, rows, map_slots),
            self._gather(self._pointers, rows, pointer_slots),
            ages,
            max(pointers - 1, 1),
        )

    def evict(self, row: int) -> None:
        """Frees the row of an object that left."""
        self._first[row] = None

    def reset(self) -> None:
        """Frees all rows."""
        self._first = [None] * len(self._first)

    def _first_step(self, row: int) -> int:
        first = self._first[row]
        assert first is not None
        return first

    def _map_steps(self, row: int, step: int) -> list[int]:
        """The frames whose maps the row remembers at `step`, ascending, without its conditioning frame."""
        maps, stride = self._size.maps, self._size.stride
        nearest = (step - 2) // stride * stride
        steps = (step - 1, *range(nearest, nearest - (maps - 2) * stride, -stride))
        return [earlier for earlier in reversed(steps) if earlier > self._first_step(row)]

    def _map_slot(self, step: int) -> int:
        """Frames that the stride divides take turns; the others share the last slot, as only the latest is wanted."""
        size = self._size
        return size.maps if step % size.stride else 1 + step // size.stride % (size.maps - 1)

    def _gather(self, slots: torch.Tensor, rows: Sequence[int], order: list[int]) -> torch.Tensor:
        if len(rows) == 1:
            return slots[rows[0]][order][None]
        row_index = torch.tensor(list(rows), device=self._device)[:, None]
        return slots[row_index, torch.tensor(order, device=self._device)]

    def _reserve(self, rows: int) -> None:
        size, held = self._size, len(self._first)
        slots = size.maps + (size.stride > 1)
        maps = torch.zeros(rows, slots, size.tokens, size.map_width, dtype=torch.bfloat16, device=self._device)
        pointers = torch.zeros(rows, size.pointers, size.pointer_width, device=self._device)
        if held:
            maps[:held], pointers[:held] = self._maps, self._pointers
        self._maps, self._pointers = maps, pointers
        self._first += [None] * (rows - held)
