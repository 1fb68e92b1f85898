"""What `probe` tells of a clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.assets.make_assets import make_clip
from trackmatte.io.probe import probe
from trackmatte.types import AudioInfo, ColorTags


def test_everything_about_a_clip(tmp_path: Path) -> None:
    color = ColorTags(primaries="bt2020", transfer="arib-std-b67", matrix="bt2020nc", range="tv")
    path = make_clip(
        tmp_path / "a.mov", frames=50, rate=Fraction(30000, 1001), pix_fmt="yuv420p10le", color=color, audio="aac"
    )
    info = probe(path)
    assert (info.path, info.codec, info.pixel_format, info.bit_depth) == (str(path), "h264", "yuv420p10le", 10)
    assert (info.width, info.height, info.rotation, info.pixel_aspect) == (96, 64, 0, 1)
    assert info.rate == Fraction(30000, 1001)
    assert info.variable_rate is False
    assert info.frames == 50
    assert info.duration_seconds == Fraction(50 * 1001, 30000)
    assert info.start_seconds == 0
    assert info.color == color
    assert info.audio == (AudioInfo(codec="aac", sample_rate=48000, channels=1),)
    assert not info.interlaced
    assert not info.has_alpha
    assert "mov" in info.container


def test_untagged_stays_untagged(tmp_path: Path) -> None:
    assert probe(make_clip(tmp_path / "a.mp4", frames=2)).color == ColorTags()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.ts", "a.avi", "a.mpg"])
def test_frames_and_length_of_any_container(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4", "a.mpg": "mpeg2video"}.get(name, "libx264")
    info = probe(make_clip(tmp_path / name, frames=30, codec=codec))
    assert info.frames == 30
    assert info.duration_seconds == Fraction(30, 25)
    assert info.rate == 25
    assert info.variable_rate is False


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_rate(tmp_path: Path, name: str) -> None:
    pts = [i * 40 + (15 if i % 5 == 2 else 0) for i in range(30)]
    info = probe(make_clip(tmp_path / name, frames=30, pts=pts, time_base=Fraction(1, 1000)))
    assert info.variable_rate is True
    assert info.frames == 30


def test_times_rounded_to_ticks_are_not_variable(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mkv", frames=60, rate=Fraction(30000, 1001)))
    assert info.time_base == Fraction(1, 1000)  # 33 and 34 ticks
    assert info.variable_rate is False


def test_large_files_are_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=120)
    monkeypatch.setattr("trackmatte.io.probe._LISTED_BYTES", 0)
    monkeypatch.setattr("trackmatte.io.probe._LISTED_PACKETS", 40)
    info = probe(path)
    assert info.frames == 120
    assert info.variable_rate is False


def test_start_offset(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=5, pts=[500, 540, 580, 620, 660], time_base=Fraction(1, 1000))
    info = probe(path)
    assert info.start_seconds == Fraction(1, 2)
    assert info.duration_seconds == Fraction(1, 5)
