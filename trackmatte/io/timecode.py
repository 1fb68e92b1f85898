"""SMPTE timecode (ST 12-1): the label of a frame, counted on from another one."""

from __future__ import annotations

import re
from fractions import Fraction

_TIMECODE = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d\d)")
_DAY = 24 * 60 * 60


def advanced(timecode: str, frames: int, rate: Fraction) -> str | None:
    """The timecode of a frame that comes `frames` later.

    Args:
        timecode: `HH:MM:SS:FF`; with `;` or `.` before the frames the labels of two frames (of four at 60 frames a
            second) are dropped at each minute but every tenth.
        frames: how many frames later.
        rate: frames a second; labels count its next whole number.

    Returns:
        The timecode, which begins anew after a day; None where `timecode` is none at this rate.
    """
    match = _TIMECODE.fullmatch(timecode)
    fps = round(rate)
    if match is None or int(match[5]) >= fps:
        return None
    drop = match[4] != ":"
    if drop and fps % 30:
        return None
    hours, minutes, seconds, label = int(match[1]), int(match[2]), int(match[3]), int(match[5])
    number = ((hours * 60 + minutes) * 60 + seconds) * fps + label
    skipped = fps // 15 if drop else 0
    if drop:
        total = hours * 60 + minutes
        number -= skipped * (total - total // 10)
    number += frames
    if drop:
        minute, ten = fps * 60 - skipped, fps * 600 - 9 * skipped
        tens, rest = divmod(number, ten)
        number += skipped * (9 * tens + max(0, (rest - skipped) // minute))
    number %= _DAY * fps
    seconds, label = divmod(number, fps)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{match[4]}{label:02}"
