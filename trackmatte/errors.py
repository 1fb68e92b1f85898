"""The errors that trackmatte raises on purpose.

TrackmatteError
├── UsageError          2  an option or an argument is wrong
│   └── PromptError     2  a prompt can't be used: outside the picture, after the end, an empty mask
├── InputError          3  the clip can't be opened or read
│   └── DamagedClipError   3  decoding failed after some good frames
├── ModelError          4  unknown model, missing, wrong or hostile weights, a device that isn't there
└── OutputError         5  a result can't be written

Each message is one line: the value, what was expected, and what to do next. The number is the exit code of
the command line. An interrupt exits with 130.
"""

from __future__ import annotations

import unicodedata

_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # text that runs the other way


def printable(text: str) -> str:
    """The text as one line for a terminal: control characters, line ends too, and what is no valid text, as escapes."""
    return "".join(
        character.encode("unicode_escape").decode("ascii") if is_control(character) else character for character in text
    )


def is_control(character: str) -> bool:
    """Whether a terminal would obey a character rather than show it, or it is no valid text."""
    return unicodedata.category(character) in _UNSHOWN or character in _TURNING


class TrackmatteError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(TrackmatteError):
    """An option or an argument is wrong."""

    exit_code = 2


class PromptError(UsageError):
    """A prompt can't be used on this clip."""


class InputError(TrackmatteError):
    """The clip can't be opened or read."""

    exit_code = 3


class DamagedClipError(InputError):
    """Decoding failed in the middle of the clip.

    Attributes:
        good_frames: how many frames were decoded before the damage.
    """

    def __init__(self, message: str, *, good_frames: int) -> None:
        super().__init__(message)
        self.good_frames = good_frames


class ModelError(TrackmatteError):
    """A model or its weights can't be used."""

    exit_code = 4


class OutputError(TrackmatteError):
    """A result can't be written."""

    exit_code = 5
