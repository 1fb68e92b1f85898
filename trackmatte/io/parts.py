"""Hidden names beside an output, under which it is written, and what runs that were killed left there.

An output is written as `.NAME.XXXXXXXX.part.SUFFIX`; what it replaces is `.NAME.XXXXXXXX.old.SUFFIX` while both change
places. A run holds a lock (flock) on either as long as it lives.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Literal

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing that was left is found
    fcntl = None  # type: ignore[assignment]

_STEM_BYTES = 200
_SUFFIX_LETTERS = 16


def hidden_name(path: Path, role: Literal["part", "old"]) -> Path:
    """A name beside `path` that nobody else uses, with the same suffix and no longer than names may be."""
    stem, suffix = _ends(path)
    return path.parent / f".{stem}.{secrets.token_hex(4)}.{role}{suffix}"


def _ends(path: Path) -> tuple[str, str]:
    return os.fsdecode(os.fsencode(path.name)[:_STEM_BYTES]), path.suffix[:_SUFFIX_LETTERS]


def reserve(path: Path, *, folder: bool) -> tuple[Path, int | None]:
    """Makes an empty file or folder under a hidden name beside `path`.

    Returns:
        Its name, and the lock on it as an open descriptor; None where the system or the disk has no locks.

    Raises:
        OSError: it can't be made.
    """
    while True:
        part = hidden_name(path, "part")
        if folder:
            part.mkdir()
        else:
            part.touch(exist_ok=False)
        lock = hold(part)
        if lock is None or part.exists():
            return part, lock
        os.close(lock)  # another run took it for one that was left, before it was locked


def hold(path: Path) -> int | None:
    """Locks a file or folder until the descriptor is closed; None where it is locked already, or can't be."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def sweep(path: Path) -> list[str]:
    """Removes what runs that were killed left beside an output, and puts back what they had moved away.

    Returns:
        A sentence on each.

    Raises:
        OSError: the folder can't be read, or something in it not removed.
    """
    stem, suffix = _ends(path)
    known = re.compile(rf"\.{re.escape(stem)}\.[0-9a-f]{{8}}\.(part|old){re.escape(suffix)}")
    notes = []
    for name in sorted(os.listdir(path.parent)) if path.parent.is_dir() else ():
        match = known.fullmatch(name)
        left = path.parent / name
        if match is None or (lock := hold(left)) is None:
            continue
        try:
            if match[1] == "old" and not path.exists():
                os.rename(left, path)
                notes.append(f"put back {path}, which a run that was killed had moved away")
            else:
                remove(left)
                notes.append(f"removed {left}, left by a run that was killed")
        finally:
            os.close(lock)
    return notes


def remove(path: Path) -> None:
    """Removes a file or a folder with all it holds, as far as that goes; never raises."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
