"""Numbers in text, read exactly and within bounds: `Fraction("1e999999999")` alone would hang."""

from __future__ import annotations

import re
from fractions import Fraction

_DECIMAL = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_MOST = 2**31 - 1  # of both halves of a time base in FFmpeg
_RATIO = re.compile(r"[+-]?\d{1,18}/\d{1,18}", re.ASCII)


def parse_fraction(text: str) -> Fraction:
    """The exact value of a decimal number (`1.6`, `2.5e-3`) or a ratio (`8/5`) with up to 18 digits a part.

    Raises:
        ValueError: the text is neither, or its denominator is 0.
    """
    text = text.strip()
    if len(text) > 80 or not (_DECIMAL.fullmatch(text) or _RATIO.fullmatch(text)):
        raise ValueError(f"{text[:40]!r} is not a decimal number or a ratio")
    try:
        return Fraction(text)
    except ZeroDivisionError as exc:
        raise ValueError(f"{text!r} divides by zero") from exc


def frame_rate(text: str) -> Fraction:
    """Frames a second; a decimal that stands for a rate of NTSC video is that: 23.976 is 24000/1001.

    Raises:
        ValueError: no number, or finer than media files can store.
    """
    rate = parse_fraction(text)
    if "/" not in text:
        ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
        if abs(ntsc - rate) <= rate / 200_000:
            return ntsc
        rate = rate.limit_denominator(100_000)
    if rate.numerator > _MOST or rate.denominator > _MOST:
        raise ValueError(f"{text} is finer than media files can store")
    return rate
