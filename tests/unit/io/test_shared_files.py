"""The awkward files: each is read right, or refused with one clear sentence."""

from __future__ import annotations

import os
from collections import deque
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.shared_data import shared
from trackmatte.errors import DamagedClipError, InputError
from trackmatte.io.decode import open_clip
from trackmatte.io.probe import probe

# name: (width, height, frames, first pts in seconds, last pts in seconds, dtype)
GOOD = {
    "bear-vp9-odd-dimensions.webm": (161, 121, 30, Fraction(0), Fraction(968, 1000), np.uint8),
    "bitmap.mp4": (1, 1, 5, Fraction(0), Fraction(4), np.uint8),
    "bt709_full_range.mp4": (1280, 720, 30, Fraction(0), Fraction(29, 30), np.uint8),
    "cursed-vfr.mp4": (3026, 1386, 63, Fraction(0), Fraction(412157, 57600), np.uint8),
    "h265_10bits.mp4": (200, 200, 30, Fraction(0), Fraction(29, 30), np.uint16),
    "hlg10-color-test.mp4": (1920, 1080, 9, Fraction(0), Fraction(24008, 90000), np.uint16),
    "interlaced_tff.mpg": (480, 270, 75, Fraction(54, 100), Fraction(35, 10), np.uint8),
    "no-initial-keyframe.ts": (640, 360, 15, Fraction(10336230, 90000), Fraction(10378170, 90000), np.uint8),
    "rotate-buck-bunny.mp4": (1080, 1920, 45, Fraction(4800, 57600), Fraction(110400, 57600), np.uint8),
    "sar_2x1.mp4": (1280, 360, 150, Fraction(0), Fraction(149, 30), np.uint8),
    "transparent.webm": (200, 200, 150, Fraction(0), Fraction(4967, 1000), np.uint8),
    "video_90.mov": (320, 568, 3, Fraction(0), Fraction(2, 30), np.uint8),
}


@pytest.mark.parametrize("name", GOOD)
def test_read_right(name: str) -> None:
    width, height, count, first, last, dtype = GOOD[name]
    with open_clip(shared(f"io/{name}")) as clip:
        info = clip.info
        assert (info.width, info.height, info.frames) == (width, height, count)
        times = []
        for frame in clip:
            assert frame.image.shape == (height, width, 3)
            assert frame.image.dtype == dtype
            times.append(frame.pts_seconds)
        assert clip.damage is None
    assert (len(times), times[0], times[-1]) == (count, first, last)
    assert info.start_seconds == first
    assert all(later > earlier for earlier, later in pairwise(times))


def test_details() -> None:
    assert probe(shared("io/cursed-vfr.mp4")).variable_rate is True
    assert probe(shared("io/video_90.mov")).rotation == 90
    assert probe(shared("io/transparent.webm")).has_alpha
    assert probe(shared("io/interlaced_tff.mpg")).interlaced
    hlg = probe(shared("io/hlg10-color-test.mp4"))
    assert (hlg.color.primaries, hlg.color.transfer, hlg.color.matrix) == ("bt2020", "arib-std-b67", "bt2020nc")
    assert probe(shared("io/bt709_full_range.mp4")).color.range == "pc"


def test_sar_and_odd_sizes_keep_pure_colours() -> None:
    """FFmpeg's test pattern has bars of pure colour: red at the left, green beside it."""
    with open_clip(shared("io/sar_2x1.mp4")) as clip:
        image = next(iter(clip)).image
    assert np.abs(image[100, 60].astype(int) - (255, 0, 0)).max() <= 3
    assert np.abs(image[30, 300].astype(int) - (0, 255, 0)).max() <= 3


def test_damaged_in_the_middle() -> None:
    frames: list[int] = []
    with open_clip(shared("io/corrupted.mp4")) as clip, pytest.raises(DamagedClipError, match="after 28 good") as error:
        frames.extend(frame.index for frame in clip)
    assert len(frames) == error.value.good_frames == 28
    with open_clip(shared("io/corrupted.mp4"), damaged="keep") as clip:
        assert len(list(clip)) == 49
        assert clip.damage is not None
        assert "1 packet could not be decoded" in clip.damage


def test_truncated() -> None:
    path = shared("io/truncated_01_dog.mp4")
    with open_clip(path) as clip, pytest.raises(DamagedClipError, match="before the last of 289 frames") as caught:
        deque(clip, maxlen=0)
    assert 140 < caught.value.good_frames < 152


def test_zero_bytes() -> None:
    with pytest.raises(InputError, match="is empty"):
        probe(shared("io/zero_bytes.webm"))


@pytest.mark.parametrize("name", ["01_dog.mp4", "bedroom.mp4", "12_hideandseek.mp4"])
def test_intact_clips_are_not_called_damaged(name: str) -> None:
    with open_clip(shared(f"clips/{name}")) as clip:
        assert sum(1 for _ in clip) == clip.info.frames
        assert clip.damage is None


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_clip() -> None:
    at: dict[int, float] = {}
    with open_clip(shared("io/long_1080p_videoonly_lowbitrate.mp4")) as clip:
        for frame in clip:
            if frame.index in (200, 2000):
                at[frame.index] = resident_mb()
            if frame.index == 2000:
                break
    assert at[2000] <= 1.03 * at[200]
