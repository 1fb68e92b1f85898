"""Runs sections one after another, each in a process of its own with a time limit, and keeps what they find.

A section that fails or takes too long is recorded with its error and with what it found until then; the next one runs
all the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the proof.

    Attributes:
        name: what it is called in the results.
        command: what to run; the path of a file is added, in which it reports.
        limit: seconds it may take.
    """

    name: str
    command: tuple[str, ...]
    limit: float


class Report:
    """A section's side: hands over each number as soon as it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, *keys: str, **values: Any) -> None:
        """Adds `values` to what is found under `keys`."""
        with self._path.open("a") as file:
            file.write(json.dumps([keys, values]) + "\n")


def run(sections: Iterable[Section], *, seconds: float, keep: Callable[[Results], None]) -> Results:
    """Runs all sections.

    Args:
        sections: in this order.
        seconds: that all of them together may take; what is not begun by then is recorded as such.
        keep: called after each section with all results so far.

    Returns:
        By section: `found`, `seconds` and, where something went wrong, `error`.
    """
    end, results = time.monotonic() + seconds, {}
    for section in sections:
        left = end - time.monotonic()
        results[section.name] = _run(section, min(left, section.limit)) if left > 1 else {"error": "no time was left"}
        keep(results)
    return results


def _run(section: Section, limit: float) -> Results:
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "report", Path(folder) / "log"
        start = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*section.command, str(report)], stdout=output, stderr=subprocess.STDOUT, preexec_fn=os.setpgrp
            )
            error = _wait(process, limit)
        result: Results = {"seconds": round(time.monotonic() - start, 1), "found": _found(report)}
        if error:
            result |= {"error": error, "log": log.read_text(errors="replace")[-2000:]}
        return result


def _wait(process: subprocess.Popen[bytes], limit: float) -> str:
    """Waits until the process ends, or ends it with all that it started; returns what went wrong."""
    try:
        code = process.wait(limit)
        return f"ended with code {code}" if code else ""
    except subprocess.TimeoutExpired:
        return f"took longer than {limit:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _found(report: Path) -> Results:
    """What was reported; a last line that was cut off is left out."""
    found: Results = {}
    for line in report.read_text().splitlines(keepends=True) if report.exists() else ():
        if line.endswith("\n"):
            keys, values = json.loads(line)
            place = found
            for key in keys:
                place = place.setdefault(key, {})
            place |= values
    return found
