"""The results as lines of text, the goals beside what was reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.common import shown
from benchmarks.gpu.runner import Results

GOALS = {"1 objects": 1.5, "8 objects": 4.0}  # times the speed of the compiled reference


def lines(results: Results) -> list[str]:
    """What matters most of each section."""
    made = []
    for name, section in results.items():
        error = f": {section['error']}" if "error" in section else ""
        made.append(f"{name}{error}")
        found = section.get("found", {})
        show = _fast if name.startswith("fast") else _SHOWN.get(name, _flat)
        made += [f"  {line}" for line in show(found)]
    return made


def _fast(found: Results) -> Iterator[str]:
    for rival, by_objects in found.items():
        for objects, sides in by_objects.items():
            goal = f"; the goal is {GOALS[objects]}" if rival.endswith("compiled") and objects in GOALS else ""
            for side, row in sides.items():
                if "seconds" in row:
                    times = f"{shown(row['times_rival'])} times the rival's speed"
                    yield f"{rival}, {objects}: {side} {shown(row['seconds'], 1000)} ms a frame, {times}{goal}"


def _kernels(found: Results) -> Iterator[str]:
    for name, row in found.items():
        yield (
            f"{name}: {row['frame_us']:.0f} us a frame, {row['kernels']:.0f} kernels, none runs in "
            f"{100 * row['idle_share']:.0f} % of it; longest {row['longest'][0]['name'][:60]}"
        )


def _flat(found: Results, before: str = "") -> Iterator[str]:
    """Every number under its keys."""
    plain = {key: value for key, value in found.items() if not isinstance(value, dict)}
    if plain:
        yield f"{before}: " + ", ".join(f"{key} {_number(value)}" for key, value in plain.items())
    for key, value in found.items():
        if isinstance(value, dict):
            if value.keys() == {"median", "least", "most"}:
                yield f"{before}: {key} {shown(value)}"
            else:
                yield from _flat(value, f"{before}, {key}" if before else key)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_SHOWN = {"kernels": _kernels}
