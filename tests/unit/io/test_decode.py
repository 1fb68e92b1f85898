"""Frames as displayed, at the container's own times, from small clips whose pictures are known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tests.assets.make_assets import make_clip, number, picture
from trackmatte.errors import InputError, UsageError
from trackmatte.io.decode import open_clip
from trackmatte.types import ColorTags, Frame, ImageArray

SIZE = (96, 64)


def read(path: Path) -> list[Frame]:
    with open_clip(path) as clip:
        return list(clip)


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [number(frame.image) for frame in frames]


def flat_error(image: ImageArray, index: int, size: tuple[int, int] = SIZE) -> float:
    """The largest error, in 8-bit levels, inside the colour patches and the grey ramp (away from their edges)."""
    width, height = size
    full = np.iinfo(image.dtype).max
    want = picture(index, size) * 255
    columns = [(2 * i + 1) * width // 8 for i in range(4)]
    rows = slice(height - height // 8 - 2, height - height // 8 + 2)
    error = np.abs(image * (255 / full) - want)
    ramp = error[height // 4 + 4 : height - height // 4 - 4, width * 3 // 4 : width - 4]
    return float(max(error[rows, columns].max(), ramp.max()))


def test_every_frame_once_in_order(tmp_path: Path) -> None:
    frames = read(make_clip(tmp_path / "a.mp4", frames=40, options={"bf": "3"}))
    assert numbers(frames) == list(range(40))
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.pts_seconds for frame in frames] == [Fraction(i, 25) for i in range(40)]
    assert {frame.duration * frame.time_base for frame in frames if frame.duration} == {Fraction(1, 25)}


def test_reads_again_from_the_beginning_and_not_after_closing(tmp_path: Path) -> None:
    with open_clip(make_clip(tmp_path / "a.mp4", frames=5)) as clip:
        assert [number(frame.image) for frame, _ in zip(clip, range(2), strict=False)] == [0, 1]
        assert numbers(list(clip)) == numbers(list(clip)) == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="closed"):
        next(iter(clip))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_variable_rate_and_start(tmp_path: Path, name: str) -> None:
    pts = [70, 110, 111, 500, 520, 1900]
    frames = read(make_clip(tmp_path / name, frames=6, pts=pts, time_base=Fraction(1, 1000)))
    assert [frame.pts_seconds for frame in frames] == [Fraction(tick, 1000) for tick in pts]
    assert [frame.duration * frame.time_base * 1000 for frame in frames[:5] if frame.duration] == [40, 1, 389, 20, 1380]
    assert numbers(frames) == list(range(6))


def test_frames_hidden_by_an_edit_list_are_left_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "whole.mp4", frames=24, gop=24)
    cut = tmp_path / "cut.mp4"
    with av.open(str(source)) as whole, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as edited:
        stream = edited.add_stream_from_template(whole.streams.video[0])
        shift = int(Fraction(10, 25) / whole.streams.video[0].time_base)
        for packet in whole.demux(video=0):
            if packet.dts is None:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            edited.mux(packet)
    frames = read(cut)
    assert numbers(frames) == list(range(10, 24))
    assert [frame.pts_seconds for frame in frames] == [Fraction(i, 25) for i in range(14)]
    with open_clip(cut) as clip:
        assert clip.info.frames == 14
        assert clip.info.start_seconds == 0


def test_frames_without_times_get_the_rates(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.h264", frames=12, options={"bf": "0"})
    frames = read(path)
    assert numbers(frames) == list(range(12))
    steps = {b.pts_seconds - a.pts_seconds for a, b in pairwise(frames)}
    assert steps == {Fraction(1, 25)}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=3, rotation=rotation, mirrored=mirrored)
    with open_clip(path) as clip:
        assert (clip.info.rotation, clip.info.mirrored) == (rotation, mirrored)
        assert (clip.info.width, clip.info.height) == (SIZE[::-1] if rotation % 180 else SIZE)
        assert (clip.info.coded_width, clip.info.coded_height) == SIZE
        for frame in clip:
            assert (frame.width, frame.height) == (clip.info.width, clip.info.height)
            turned = frame.image[:, ::-1] if mirrored else frame.image
            stored = np.rot90(turned, rotation // 90)  # counterclockwise again
            assert number(stored) == frame.index
            assert flat_error(stored, frame.index) <= 2


@pytest.mark.parametrize(
    ("sar", "size"), [(Fraction(2), (192, 64)), (Fraction(4, 3), (128, 64)), (Fraction(1, 2), (96, 128))]
)
def test_pixel_aspect_widens_or_heightens(tmp_path: Path, sar: Fraction, size: tuple[int, int]) -> None:
    with open_clip(make_clip(tmp_path / "a.mp4", frames=2, sar=sar)) as clip:
        assert (clip.info.width, clip.info.height) == size
        assert clip.info.pixel_aspect == sar
        for frame in clip:
            assert frame.image.shape == (size[1], size[0], 3)
            assert number(frame.image) == frame.index
            assert flat_error(frame.image, frame.index, size) <= 3


def test_pixel_aspect_and_rotation(tmp_path: Path) -> None:
    with open_clip(make_clip(tmp_path / "a.mp4", frames=1, sar=Fraction(2), rotation=90)) as clip:
        assert (clip.info.width, clip.info.height) == (64, 192)
        assert next(iter(clip)).image.shape == (192, 64, 3)


@pytest.mark.parametrize("matrix", [None, "smpte170m", "bt470bg", "bt709", "bt2020nc", "smpte240m"])
@pytest.mark.parametrize("range_", [None, "tv", "pc"])
@pytest.mark.parametrize("deep", [False, True])
def test_matrix_and_range(tmp_path: Path, matrix: str | None, range_: str | None, deep: bool) -> None:
    color = ColorTags(matrix=matrix, range=range_)
    pix_fmt = "yuv444p10le" if deep else "yuv420p"
    path = make_clip(tmp_path / "a.mkv", frames=1, codec="libx264", pix_fmt=pix_fmt, color=color)
    frame = read(path)[0]
    assert frame.image.dtype == (np.uint16 if deep else np.uint8)
    assert flat_error(frame.image, 0) <= (1 if deep else 2)


@pytest.mark.parametrize("size", [(1280, 720), (960, 720), (1280, 544)])
def test_untagged_large_clips_are_bt709(tmp_path: Path, size: tuple[int, int]) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=1, size=size)
    with open_clip(path) as clip:
        assert clip.info.color.matrix is None
        assert flat_error(next(iter(clip)).image, 0, size) <= 2


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p12le", "gbrp16le", "gbrp10le", "gray10le", "gray16le"])
def test_deep_white_is_65535_and_black_0(tmp_path: Path, pix_fmt: str) -> None:
    image = read(make_clip(tmp_path / "a.mkv", frames=1, codec="ffv1", pix_fmt=pix_fmt))[0].image
    assert image.dtype == np.uint16
    assert image.max() == 65535  # the white patch
    assert image.min() <= 4  # the black blocks


def test_deep_steps_stay_apart(tmp_path: Path) -> None:
    """A 10-bit ramp keeps its 10-bit steps: no rounding to 8 bits on the way."""
    path = tmp_path / "ramp.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 876, 16, "yuv444p10le"
        frame = av.VideoFrame(876, 16, "yuv444p10le")
        for plane, row in zip(frame.planes, (np.arange(64, 940), np.full(876, 512), np.full(876, 512)), strict=True):
            data = np.zeros((16, plane.line_size // 2), np.uint16)
            data[:, :876] = row
            plane.update(data.tobytes())
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    row = read(path)[0].image[8, :, 1].astype(int)
    assert np.all(np.diff(row) > 0)
    assert np.abs(row - (np.arange(64, 940) - 64) / 876 * 65535).max() <= 2


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.avi", "rawvideo", "bgr24"),
        ("a.mkv", "ffv1", "gbrp16le"),
        ("a.mov", "png", "rgba"),
        ("a.mov", "png", "rgb24"),
    ],
)
def test_rgb_is_exact(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    with open_clip(make_clip(tmp_path / name, frames=2, codec=codec, pix_fmt=pix_fmt)) as clip:
        assert clip.info.color.matrix == "gbr"
        assert clip.info.has_alpha == (pix_fmt == "rgba")
        for frame in clip:
            top = np.iinfo(frame.image.dtype).max
            assert np.array_equal(frame.image, np.round(picture(frame.index) * top))


def test_palettes_read_as_their_colours(tmp_path: Path) -> None:
    frames = read(make_clip(tmp_path / "a.gif", frames=3, codec="gif", pix_fmt="rgb8"))
    assert numbers(frames) == [0, 1, 2]
    assert flat_error(frames[2].image, 2) <= 86  # two or three bits a colour, dithered


def test_full_range_formats_and_grey(tmp_path: Path) -> None:
    full = read(make_clip(tmp_path / "a.mp4", frames=1, pix_fmt="yuvj420p"))[0]
    assert flat_error(full.image, 0) <= 2
    grey = read(make_clip(tmp_path / "a.mkv", frames=1, codec="ffv1", pix_fmt="gray"))[0].image
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert np.abs(grey[30, 80:, 0] - np.round(picture(0)[30, 80:, 0] * 255)).max() <= 1


@pytest.mark.parametrize(
    ("codec", "name", "pix_fmt"), [("prores_ks", "a.mov", "yuva444p10le"), ("ffv1", "a.mkv", "yuva420p")]
)
def test_alpha_is_told_and_left_out(tmp_path: Path, codec: str, name: str, pix_fmt: str) -> None:
    with open_clip(make_clip(tmp_path / name, frames=1, codec=codec, pix_fmt=pix_fmt)) as clip:
        assert clip.info.has_alpha
        assert next(iter(clip)).image.shape == (64, 96, 3)


@pytest.mark.parametrize("size", [(35, 21), (97, 65), (33, 64)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    for name, codec, pix_fmt in (("a.mp4", "libx264", "yuv444p"), ("a.webm", "libvpx-vp9", "yuv420p")):
        frames = read(make_clip(tmp_path / name, frames=3, size=size, codec=codec, pix_fmt=pix_fmt))
        assert [frame.image.shape for frame in frames] == [(size[1], size[0], 3)] * 3
        assert numbers(frames) == [0, 1, 2]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mpg", "mpeg2video")])
def test_interlaced_is_deinterlaced_at_the_same_times(tmp_path: Path, name: str, codec: str) -> None:
    path = make_clip(tmp_path / name, frames=20, codec=codec, interlaced=True, rate=Fraction(5), options={"b": "4M"})
    with av.open(str(path)) as container:
        combed = [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    with open_clip(path) as clip:
        assert clip.info.interlaced
        frames = list(clip)
    assert numbers(frames) == list(range(20))
    assert [frame.pts for frame in frames] == [pts for pts, _ in combed]

    def comb(image: ImageArray) -> float:
        rows = image[20:44].astype(float)
        return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())

    assert comb(frames[10].image) < 0.6 * comb(combed[10][1])


def test_unreadable_matrix_is_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=1, pix_fmt="yuv444p", options={"x264-params": "colormatrix=ycgco"})
    with pytest.raises(InputError, match=r"matrix ycgco can't be read"), open_clip(path) as clip:
        next(iter(clip))


def test_frames_are_not_kept(tmp_path: Path) -> None:
    """Each frame owns its pixels: what comes later doesn't write into it."""
    frames = read(make_clip(tmp_path / "a.mp4", frames=10))
    assert numbers(frames) == list(range(10))
    assert len({frame.image.__array_interface__["data"][0] for frame in frames}) == 10


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=1)
    with pytest.raises(UsageError, match="unknown backend 'vlc'"):
        open_clip(path, backend="vlc")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="folder of images alone"):
        open_clip(path, rate=Fraction(25))
    with pytest.raises(UsageError, match="above zero"):
        open_clip(tmp_path, rate=Fraction(0))


def test_frames_marked_later_are_deinterlaced_and_the_others_untouched(tmp_path: Path) -> None:
    parts = [
        make_clip(tmp_path / name, frames=12, codec="mpeg2video", interlaced=interlaced, options={"b": "4M"})
        for name, interlaced in (("a.ts", False), ("b.ts", True))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_clip(joined) as clip:
        images = [frame.image for frame in clip]
        assert any("deinterlaced" in note for note in clip.notes)
    plain, fields = ([frame.image for frame in open_clip(part)] for part in parts)
    assert len(images) == 24
    assert all(np.array_equal(one, other) for one, other in zip(images[:12], plain, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(images[13:], fields[1:], strict=True))
