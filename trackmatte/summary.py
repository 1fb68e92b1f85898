"""What a run came to: frames, presence and loss of each object, time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from trackmatte.memory import peak_memory_mb
from trackmatte.types import ClipInfo, ObjectMasks


@dataclass(slots=True)
class ObjectSummary:
    """One object over the frames so far.

    Attributes:
        name: the object's name.
        frames_present: in how many frames it was visible.
        lost: [first, last] frame indices, both included, of each stretch after its first prompt without it.
    """

    name: str
    frames_present: int = 0
    lost: list[list[int]] = field(default_factory=list)
    _score_sum: float = 0.0
    _score_count: int = 0

    def add(self, index: int, *, present: bool, seeded: bool, score: float) -> None:
        """Takes the object's state in the next frame."""
        if not seeded:
            return
        self._score_sum += score
        self._score_count += 1
        if present:
            self.frames_present += 1
        elif self.lost and self.lost[-1][1] == index - 1:
            self.lost[-1][1] = index
        else:
            self.lost.append([index, index])

    @property
    def mean_score(self) -> float | None:
        """Mean probability of being visible since the first prompt; None where there was no prompt."""
        return self._score_sum / self._score_count if self._score_count else None


class Summary:
    """Collects what the command line reports about a run."""

    def __init__(self, clip: ClipInfo, names: tuple[str, ...], outputs: list[str]) -> None:
        self.clip = clip
        self.outputs = outputs
        self.objects = {name: ObjectSummary(name) for name in names}
        self.frames = 0
        self.damage: str | None = None
        self.notes: tuple[str, ...] = ()
        self._started = time.perf_counter()
        self.seconds = 0.0

    def add(self, masks: ObjectMasks) -> None:
        """Takes the next frame's result."""
        self.frames += 1
        for i, name in enumerate(masks.names):
            self.objects[name].add(
                masks.index,
                present=bool(masks.present[i]),
                seeded=bool(masks.seeded[i]),
                score=float(masks.scores[i]),
            )

    def close(self, *, damage: str | None, notes: Iterable[str] = ()) -> None:
        """Stops the clock.

        Args:
            damage: what could not be read of the clip, if anything.
            notes: what else a user should know, a sentence each.
        """
        self.damage = damage
        self.notes = tuple(dict.fromkeys(notes))
        self.seconds = time.perf_counter() - self._started

    def to_json(self) -> dict[str, Any]:
        """The summary in the command line's form; `damage` and `notes` only where there are any."""
        summary: dict[str, Any] = {
            "clip": self.clip.path,
            "frames": self.frames,
            "width": self.clip.width,
            "height": self.clip.height,
            "objects": [
                {
                    "name": entry.name,
                    "frames_present": entry.frames_present,
                    "lost": entry.lost,
                    "mean_score": None if entry.mean_score is None else round(entry.mean_score, 4),
                }
                for entry in self.objects.values()
            ],
            "outputs": self.outputs,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.frames / self.seconds, 3) if self.seconds else 0.0,
            "peak_memory_mb": peak_memory_mb(),
        }
        if self.damage:
            summary["damage"] = self.damage
        if self.notes:
            summary["notes"] = list(self.notes)
        return summary
