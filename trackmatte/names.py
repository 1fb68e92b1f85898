"""Objects' names: what may be one, and which can name a folder."""

from __future__ import annotations

from trackmatte.errors import PromptError, UsageError, is_control, printable

MAX_BYTES = 200
"""The longest name, in UTF-8: with a suffix it still fits a file's name."""


def check_name(name: object) -> str:
    """An object's name as it is: not empty, at most 200 bytes of UTF-8, with no control characters.

    Raises:
        PromptError: it is no such text.
    """
    if not isinstance(name, str) or not name:
        raise PromptError(f'object is {_shown(name)}; give a name, for example "ball"')
    if any(map(is_control, name)):
        raise PromptError(f"object {_shown(name)} has control characters or no valid text; give it a printable name")
    if len(name.encode("utf-8")) > MAX_BYTES:
        raise PromptError(f"object {_shown(name)} has a name of more than {MAX_BYTES} bytes; give a shorter one")
    return name


def folder_name(name: str) -> str:
    """An object's name as that of a folder, which it can be where it leads to no other place.

    Raises:
        UsageError: it is `.` or `..`, or has a `/` or a backslash.
    """
    if name in (".", "..") or "/" in name or "\\" in name:
        raise UsageError(f"object {_shown(name)} can't name a folder; give it a name without / and \\")
    return name


def _shown(name: object) -> str:
    text = printable(repr(name) if not isinstance(name, str) else f"'{name[:40]}'")
    return text if len(text) <= 60 else f"{text[:57]}..."
