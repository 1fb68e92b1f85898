"""The backends give the same frames as `av`: as many, of the same size, at the same times.

`ffmpeg` hands over stored planes, which the same conversion turns into RGB: equal pixels, or, deinterlaced by another
release of FFmpeg, nearly. `decord` converts on its own: within 2.5 levels on average.
"""

from __future__ import annotations

import builtins
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.assets.make_assets import make_clip
from tests.shared_data import shared
from trackmatte.errors import DamagedClipError, InputError, UsageError
from trackmatte.io.decode import open_clip
from trackmatte.types import ColorTags, Frame

TOLERANCE = {"ffmpeg": 0.0, "decord": 2.5}
MADE: dict[str, dict[str, Any]] = {
    "plain.mp4": {"options": {"bf": "3"}},
    "vfr.mkv": {"frames": 5, "pts": [40, 50, 300, 301, 900], "time_base": Fraction(1, 1000)},
    "turned.mp4": {"rotation": 90},
    "mirrored.mp4": {"rotation": 270, "mirrored": True},
    "wide.mp4": {"sar": Fraction(3, 2)},
    "full709.mp4": {"color": ColorTags(matrix="bt709", range="pc")},
    "untagged720.mp4": {"size": (1280, 720), "frames": 2},
    "odd.webm": {"size": (97, 65), "codec": "libvpx-vp9"},
    "alpha.mov": {"codec": "png", "pix_fmt": "rgba"},
    "deep.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p10le"},
    "rgb.mkv": {"codec": "ffv1", "pix_fmt": "gbrp16le"},
    "grey.mkv": {"codec": "ffv1", "pix_fmt": "gray"},
    "interlaced.mpg": {"codec": "mpeg2video", "interlaced": True},
}
NOT_FOR_DECORD = {"mirrored.mp4", "deep.mkv", "rgb.mkv", "interlaced.mpg"}
SHARED = [
    "bear-vp9-odd-dimensions.webm", "bitmap.mp4", "bt709_full_range.mp4", "rotate-buck-bunny.mp4", "sar_2x1.mp4",
    "transparent.webm", "video_90.mov",
]  # fmt: skip
SHARED_FFMPEG_ALONE = ["h265_10bits.mp4", "hlg10-color-test.mp4", "interlaced_tff.mpg", "no-initial-keyframe.ts"]


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name, reason=f"needs the extra {name}")
    if name == "ffmpeg" and shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg")
    return name


both = pytest.mark.parametrize("backend", ["ffmpeg", "decord"], indirect=True)


def compare(path: Path, backend: str, *, tolerance: float) -> None:
    with open_clip(path) as clip, open_clip(path, backend=backend) as other:  # type: ignore[arg-type]
        assert other.info == clip.info
        for want, got in zip(clip, other, strict=True):
            same_place(want, got)
            assert got.image.dtype == want.image.dtype
            scale = 255 / np.iinfo(want.image.dtype).max
            error = np.abs(got.image.astype(np.int32) - want.image.astype(np.int32)).mean() * scale
            assert error <= tolerance, f"frame {got.index} is off by {error:.3f} levels on average"
        assert want.index == got.index > 0


def same_place(want: Frame, got: Frame) -> None:
    assert (got.index, got.pts, got.time_base, got.image.shape) == (
        want.index,
        want.pts,
        want.time_base,
        want.image.shape,
    )


@both
@pytest.mark.parametrize("name", MADE)
def test_made_clips(tmp_path: Path, backend: str, name: str) -> None:
    path = make_clip(tmp_path / name, **{"frames": 8, **MADE[name]})
    if backend == "decord" and name in NOT_FOR_DECORD:
        with pytest.raises(InputError, match="which decord can't read well; use the backend av"):
            open_clip(path, backend="decord")
        return
    tolerance = TOLERANCE[backend]
    # At the size of these clips, edges between patches are a large part of the picture.
    compare(path, backend, tolerance=0.5 if name == "interlaced.mpg" else tolerance and tolerance * 2)


@both
@pytest.mark.parametrize("name", SHARED)
def test_shared_files(backend: str, name: str) -> None:
    compare(shared(f"io/{name}"), backend, tolerance=TOLERANCE[backend])


@pytest.mark.parametrize("backend", ["ffmpeg"], indirect=True)
@pytest.mark.parametrize("name", SHARED_FFMPEG_ALONE)
def test_shared_files_that_decord_refuses(backend: str, name: str) -> None:
    compare(shared(f"io/{name}"), backend, tolerance=0.1)


@both
def test_damage_is_damage(backend: str) -> None:
    path = shared("io/corrupted.mp4")
    frames: list[Frame] = []
    clip = open_clip(path, backend=backend)  # type: ignore[arg-type]
    with clip, pytest.raises(DamagedClipError, match=r"corrupted\.mp4 is damaged") as caught:
        frames.extend(clip)
    assert 20 <= caught.value.good_frames == len(frames) <= 28
    with open_clip(path, backend=backend, damaged="keep") as clip:  # type: ignore[arg-type]
        assert len(list(clip)) >= 20
        assert clip.damage is not None


@both
def test_leaving_early_leaves_nothing_behind(tmp_path: Path, backend: str) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=60, size=(640, 480))
    with open_clip(path, backend=backend) as clip:  # type: ignore[arg-type]
        for frame in clip:
            if frame.index == 2:
                break
        assert next(iter(clip)).index == 0


@pytest.mark.parametrize(("backend", "extra"), [("decord", "decord"), ("ffmpeg", "ffmpeg")])
def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, extra: str) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=1)
    importing = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == extra:
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, extra, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError) as caught:
        open_clip(path, backend=backend)  # type: ignore[arg-type]
    assert f"pip install 'trackmatte[{extra}]'" in str(caught.value)


def test_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ffmpeg", reason="needs the extra ffmpeg")
    path = make_clip(tmp_path / "a.mp4", frames=1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="the program ffmpeg isn't there"):
        open_clip(path, backend="ffmpeg")


@pytest.mark.parametrize("backend", ["ffmpeg"], indirect=True)
@pytest.mark.parametrize(
    "name", ["turned.mp4", "mirrored.mp4", "wide.mp4", "full709.mp4", "deep.mkv", "rgb.mkv", "interlaced.mpg"]
)
def test_ffprobe_sees_what_probe_sees(tmp_path: Path, backend: str, name: str) -> None:
    import ffmpeg

    from trackmatte.io.probe import probe
    from trackmatte.io.probe_ffmpeg import probe_with_ffprobe

    path = make_clip(tmp_path / name, **{"frames": 8, **MADE[name]})
    ours, theirs = probe(path), probe_with_ffprobe(ffmpeg, str(path))
    fields = (
        "width height coded_width coded_height rotation mirrored pixel_aspect rate time_base codec pixel_format "
        "bit_depth interlaced has_alpha color audio"
    )
    for field in fields.split():
        assert getattr(theirs, field) == getattr(ours, field), field
    assert abs(theirs.start_seconds - ours.start_seconds) < Fraction(1, 100)
