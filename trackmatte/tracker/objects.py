"""Which objects a run has, and where each keeps its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class TrackedObject:
    """One object of a run.

    Attributes:
        name: as in the prompts.
        row: its row in the memory bank; None before its first prompt and after it left.
        seeded: it has had its first prompt.
    """

    name: str
    row: int | None = None
    seeded: bool = False


class ObjectTable:
    """The objects in the order in which results list them; an object that leaves keeps its place."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._objects = [TrackedObject(name) for name in dict.fromkeys(names)]
        self._places = {entry.name: place for place, entry in enumerate(self._objects)}

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, place: int) -> TrackedObject:
        return self._objects[place]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(entry.name for entry in self._objects)

    @property
    def seeded(self) -> tuple[bool, ...]:
        """For each object, whether it has had its first prompt."""
        return tuple(entry.seeded for entry in self._objects)

    def tracked_names(self) -> frozenset[str]:
        """Names of the objects that have a memory."""
        return frozenset(entry.name for entry in self._objects if entry.row is not None)

    def tracked(self) -> list[int]:
        """Places of the objects that have a memory, in order."""
        return [place for place, entry in enumerate(self._objects) if entry.row is not None]

    def place(self, name: str) -> int:
        """The place of that object, which is added at the end where it is new."""
        if name not in self._places:
            self._places[name] = len(self._objects)
            self._objects.append(TrackedObject(name))
        return self._places[name]
