"""Presentation times come out of a video as they went in."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.io.written import Written, clip_info, frames
from trackmatte.io.encode import VideoWriter

TIME_BASES = st.sampled_from(
    [Fraction(1, n) for n in (24, 600, 1000, 12288, 30000, 57600, 90000, 1_000_000)] + [Fraction(1001, 30000)]
)


@settings(deadline=None, max_examples=25)
@given(
    time_base=TIME_BASES,
    start=st.fractions(0, 100),
    gaps=st.lists(st.fractions(Fraction(1, 500), 2), max_size=12),
    suffix=st.sampled_from([".mp4", ".mov", ".mkv", ".webm"]),
    trim=st.booleans(),
)
def test_times_come_back(time_base: Fraction, start: Fraction, gaps: list[Fraction], suffix: str, trim: bool) -> None:
    steps = [max(1, round(gap / time_base)) for gap in gaps]
    times = list(accumulate(steps, initial=round(start / time_base)))
    pictures = frames(times=times, time_base=time_base, size=(32, 16))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"out{suffix}"
        writer = VideoWriter(path, clip=clip_info(size=(32, 16)), kind="color", trim=trim)
        for picture in pictures:
            writer.write(picture)
        writer.finish()
        back = Written(path, keep=False)
    zero = pictures[0].pts_seconds if trim else 0
    expected = [picture.pts_seconds - zero for picture in pictures]
    if suffix in (".mp4", ".mov"):
        assert back.seconds == expected
    else:
        assert len(back.seconds) == len(expected)
        assert all(abs(one - other) <= Fraction(1, 2000) for one, other in zip(back.seconds, expected, strict=True))
