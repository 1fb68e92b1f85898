"""Written videos, decoded back: as many frames, equal times, colours, tags, alpha; and what can't be written."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.assets.make_assets import make_clip, number
from tests.shared_data import shared
from tests.unit.io.written import Written, clip_info, disc, frames, psnr
from trackmatte.errors import OutputError, UsageError
from trackmatte.io.decode_av import AvReader
from trackmatte.io.encode import VideoWriter
from trackmatte.types import ClipInfo, ColorTags, Frame

EXACT = (".mp4", ".mov")
ROUNDED = (".mkv", ".webm")
# Gaps from 5 ms to 1.1 s, as phones and screen recorders make them, in ticks of 1/57600 s.
UNEVEN = [0, 288, 2400, 4800, 68160, 70560, 70848, 134208, 136608, 139000]


def write(path: Path, pictures: list[Frame], **options: Any) -> None:
    height, width = pictures[0].image.shape[:2]
    options = {"clip": clip_info(size=(width, height)), "kind": "color", **options}
    writer = VideoWriter(path, **options)
    for picture in pictures:
        writer.write(picture)
    writer.finish()


def with_alpha(frame: Frame) -> Frame:
    """The frame with a disc as its alpha."""
    full = np.iinfo(frame.image.dtype).max
    mask = disc(frame.index, (frame.width, frame.height))
    return frame.with_image(np.dstack([frame.image, (mask * full).astype(frame.image.dtype)]))


def matte(frame: Frame) -> Frame:
    return frame.with_image((disc(frame.index, (frame.width, frame.height)) * 255).astype(np.uint8))


# --- frames and times


@pytest.mark.parametrize("suffix", EXACT)
@pytest.mark.parametrize("kind", ["color", "matte"])
@pytest.mark.parametrize(
    ("times", "time_base"),
    [
        (list(range(0, 24 * 1001, 1001)), Fraction(1, 30000)),
        (list(range(24)), Fraction(1001, 24000)),
        (list(range(12)), Fraction(1)),
        (UNEVEN, Fraction(1, 57600)),
        ([4800 + tick for tick in UNEVEN], Fraction(1, 57600)),
        ([10143990 + 3003 * i for i in range(12)], Fraction(1, 90000)),
    ],
    ids=["29.97", "numerator", "seconds", "uneven", "late", "very late"],
)
def test_times_are_equal_as_fractions(
    tmp_path: Path, suffix: str, kind: str, times: list[int], time_base: Fraction
) -> None:
    pictures = frames(times=times, time_base=time_base)
    if kind == "matte":
        pictures = [matte(picture) for picture in pictures]
    write(tmp_path / f"out{suffix}", pictures, kind=kind)
    back = Written(tmp_path / f"out{suffix}")
    assert back.seconds == [picture.pts_seconds for picture in pictures]
    if kind == "color":
        assert [number(image) for image in back.images] == [picture.index for picture in pictures]


def test_times_of_prores_are_equal_as_fractions(tmp_path: Path) -> None:
    pictures = [with_alpha(frame) for frame in frames(times=UNEVEN, time_base=Fraction(1, 57600))]
    write(tmp_path / "out.mov", pictures, kind="alpha")
    assert Written(tmp_path / "out.mov", keep=False).seconds == [picture.pts_seconds for picture in pictures]


@pytest.mark.parametrize("suffix", ROUNDED)
def test_times_are_rounded_to_milliseconds(tmp_path: Path, suffix: str) -> None:
    pictures = frames(times=[4800 + tick for tick in UNEVEN], time_base=Fraction(1, 57600))
    write(tmp_path / f"out{suffix}", pictures)
    back = Written(tmp_path / f"out{suffix}")
    assert len(back.seconds) == len(pictures)
    for got, picture in zip(back.seconds, pictures, strict=True):
        assert abs(got - picture.pts_seconds) <= Fraction(1, 2000)
    assert [number(image) for image in back.images] == [picture.index for picture in pictures]


def test_the_first_frame_of_a_part_is_at_zero(tmp_path: Path) -> None:
    pictures = frames(times=UNEVEN, time_base=Fraction(1, 57600))[3:]
    write(tmp_path / "out.mp4", pictures, trim=True)
    start = pictures[0].pts_seconds
    assert Written(tmp_path / "out.mp4").seconds == [picture.pts_seconds - start for picture in pictures]


@pytest.mark.parametrize("suffix", EXACT)
def test_durations_are_kept_to_the_last(tmp_path: Path, suffix: str) -> None:
    pictures = frames(times=UNEVEN, time_base=Fraction(1, 57600))
    pictures[-1] = replace(pictures[-1], duration=57600)
    write(tmp_path / f"out{suffix}", pictures)
    back = Written(tmp_path / f"out{suffix}")
    gaps = [b - a for a, b in zip(back.seconds, back.seconds[1:], strict=False)]
    assert back.durations == [*gaps, Fraction(1)]
    assert back.duration == pictures[-1].pts_seconds + 1


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", frames(1))
    back = Written(tmp_path / "out.mp4")
    assert len(back.images) == 1
    assert back.duration == Fraction(1, 25)


# --- pictures


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".mov", "h264"), (".mkv", "h264"), (".webm", "vp9")])
@pytest.mark.parametrize(
    "color",
    [
        ColorTags(),
        ColorTags("bt709", "bt709", "bt709", "tv"),
        ColorTags("bt709", "bt709", "bt709", "pc"),
        ColorTags("smpte170m", "smpte170m", "smpte170m", "tv"),
        ColorTags("bt2020", "arib-std-b67", "bt2020nc", "tv"),
    ],
    ids=["none", "709", "full", "601", "hlg"],
)
def test_colours_and_their_tags_are_kept(tmp_path: Path, suffix: str, codec: str, color: ColorTags) -> None:
    pictures = frames(4, size=(128, 96))
    write(tmp_path / f"out{suffix}", pictures, clip=clip_info(size=(128, 96), color=color))
    back = Written(tmp_path / f"out{suffix}")
    assert back.codec in (codec, "lib" + codec)
    assert replace(back.color, range=color.range) == color
    assert (back.color.range or "tv") == (color.range or "tv")
    for image, picture in zip(back.images, pictures, strict=True):
        patches = np.s_[80:92, 4:28]  # inside the red patch
        assert np.abs(image[patches].astype(int) - picture.image[patches]).max() <= 4
        assert np.abs(image[:20, 60:68].astype(int) - picture.image[:20, 60:68]).max() <= 6


@pytest.mark.parametrize(
    ("suffix", "codecs", "tag"),
    [(".mp4", ("hevc",), "hvc1"), (".mov", ("hevc",), "hvc1"), (".mkv", ("hevc",), ""), (".webm", ("vp9", "av1"), "")],
)
@pytest.mark.parametrize("value_range", ["tv", "pc"])
def test_deep_pictures_stay_deep(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, codecs: tuple[str, ...], tag: str, value_range: str
) -> None:
    color = ColorTags("bt2020", "arib-std-b67", "bt2020nc", value_range)
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)  # 256 grey columns, white at the right
    image = np.repeat(np.repeat(ramp[None, :, None], 128, axis=0), 3, axis=2)
    pictures = [replace(frame, image=image) for frame in frames(4, size=(256, 128), deep=True)]
    write(tmp_path / f"out{suffix}", pictures, clip=clip_info(size=(256, 128), color=color, bit_depth=10))
    assert capfd.readouterr() == ("", "")  # encoders keep quiet
    back = Written(tmp_path / f"out{suffix}", keep=False)
    assert any(codec in back.codec or back.codec == "libdav1d" for codec in codecs)
    assert back.color == color
    assert back.pixel_format == "yuv420p10le"
    assert back.tag.strip("\0") == tag
    luma = first_plane(tmp_path / f"out{suffix}")
    low, high = (64, 940) if value_range == "tv" else (0, 1023)
    expected = low + (high - low) * (ramp / 65535)
    assert np.abs(luma.mean(axis=0) - expected).max() < 2.5
    assert len(np.unique(luma)) > 200


@pytest.mark.parametrize("value_range", ["tv", "pc"])
@pytest.mark.parametrize(
    ("bits", "kind", "suffix"), [(8, "color", ".mp4"), (10, "color", ".mkv"), (8, "alpha", ".webm")]
)
def test_copying_shifts_no_colour(tmp_path: Path, bits: int, kind: str, suffix: str, value_range: str) -> None:
    """On average every plane is as BT.709 has it, to a small part of a level of 8 bits."""
    smooth = cv2.GaussianBlur(np.random.default_rng(1).uniform(0, 1, (64, 96, 3)), (0, 0), 6) * 0.6 + 0.2
    picture = frames(1, size=(96, 64), deep=bits > 8)[0]
    top = np.iinfo(picture.image.dtype).max
    picture = picture.with_image(np.round(smooth * top).astype(picture.image.dtype))
    clip = clip_info(size=(96, 64), color=ColorTags("bt709", "bt709", "bt709", value_range), bit_depth=bits)
    path = tmp_path / f"out{suffix}"
    write(path, [with_alpha(picture) if kind == "alpha" else picture], clip=clip, kind=kind)
    red, green, blue = picture.image.mean(axis=(0, 1)) / top
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    scale, full = 2 ** (bits - 8), 2**bits - 1
    low, span, chroma_span = (0, full, full) if value_range == "pc" else (16 * scale, 219 * scale, 224 * scale)
    chroma = [128 * scale + chroma_span * c for c in ((blue - luma) / 1.8556, (red - luma) / 1.5748)]
    with av.open(str(path)) as container:
        means = [stored_plane(plane, bits).mean() for plane in next(container.decode(video=0)).planes[:3]]
    assert np.abs(np.subtract(means, [low + span * luma, *chroma])).max() < 0.25 * scale


def first_plane(path: Path) -> Any:
    """(H, W) of the first frame's first plane, as stored in more than 8 bits."""
    with av.open(str(path)) as container:
        return stored_plane(next(container.decode(video=0)).planes[0], 10)


def stored_plane(plane: Any, bits: int) -> Any:
    """(h, w) of a plane's numbers."""
    return np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)[:, : plane.width]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("size", [(161, 121), (160, 121), (161, 120), (1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("deep", [False, True], ids=["8", "deep"])
def test_odd_and_tiny_sizes_come_back(tmp_path: Path, suffix: str, size: tuple[int, int], deep: bool) -> None:
    pictures = [
        replace(frame, image=np.full_like(frame.image, np.iinfo(frame.image.dtype).max // 2))
        for frame in frames(3, size=size, deep=deep)
    ]
    write(tmp_path / f"out{suffix}", pictures)
    back = Written(tmp_path / f"out{suffix}")
    assert [image.shape for image in back.images] == [(size[1], size[0], 3)] * 3
    assert np.abs(back.images[0] / np.iinfo(back.images[0].dtype).max - 0.5).max() < 0.02


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("size", [(161, 121), (1, 1)])
def test_odd_and_tiny_sizes_come_back_with_alpha(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    write(tmp_path / f"out{suffix}", [with_alpha(frame) for frame in frames(3, size=size)], kind="alpha")
    assert [image.shape for image in Written(tmp_path / f"out{suffix}").images] == [(size[1], size[0], 4)] * 3


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_matte_is_white_on_black_and_silent(tmp_path: Path, suffix: str) -> None:
    pictures = [matte(frame) for frame in frames(5, size=(160, 120))]
    color = ColorTags("bt2020", "smpte2084", "bt2020nc", "pc")  # a matte is no picture: the clip's tags don't count
    write(tmp_path / f"out{suffix}", pictures, kind="matte", clip=clip_info(size=(160, 120), color=color))
    back = Written(tmp_path / f"out{suffix}")
    assert back.color == ColorTags("bt709", "bt709", "bt709", "tv")
    kernel = np.ones((5, 5), np.uint8)
    for image, picture in zip(back.images, pictures, strict=True):
        white = cv2.erode(picture.image, kernel) == 255
        black = cv2.dilate(picture.image, kernel) == 0
        assert image[white].min() >= 252
        assert image[black].max() <= 2
        assert np.median(image[white]) == 255
        assert np.array_equal(image[..., 1] > 127, picture.image > 127)


def test_prores_keeps_alpha_exactly_and_the_picture_under_it(tmp_path: Path) -> None:
    pictures = [with_alpha(frame) for frame in frames(4, size=(160, 120))]
    write(tmp_path / "out.mov", pictures, kind="alpha")
    back = Written(tmp_path / "out.mov")
    assert (back.codec, back.tag) == ("prores", "ap4h")
    for image, picture in zip(back.images, pictures, strict=True):
        deep = picture.image.astype(np.uint16) * 257
        assert np.array_equal(image[..., 3] >> 8, deep[..., 3] >> 8)
        hidden = picture.image[..., 3] == 0
        assert psnr(image[hidden][..., :3], deep[hidden][..., :3]) > 38


@pytest.mark.parametrize("value", [0, 1, 64, 127, 128, 200, 254, 255])
def test_prores_keeps_soft_alpha(tmp_path: Path, value: int) -> None:
    image = np.full((32, 48, 4), value, np.uint8)
    write(tmp_path / "out.mov", [replace(frame, image=image) for frame in frames(1)], kind="alpha")
    back = Written(tmp_path / "out.mov").images[0][..., 3]
    assert np.unique((back.astype(float) / 257).round()).tolist() == [value]


@pytest.mark.parametrize("suffix", [".mov", ".webm", ".mkv"])
def test_deep_pictures_with_alpha(tmp_path: Path, suffix: str) -> None:
    image = np.full((64, 64, 4), 65535, np.uint16)
    image[:, :32, :3] = 32768
    image[:32, :, 3] = 0
    write(tmp_path / f"out{suffix}", [replace(frame, image=image) for frame in frames(2)], kind="alpha")
    back = Written(tmp_path / f"out{suffix}").images[0]
    values = back / np.iinfo(back.dtype).max
    assert values[8:24, 40:56, :3] == pytest.approx(1, abs=0.005)
    assert values[8:24, 8:24, :3] == pytest.approx(0.5, abs=0.005)
    assert (values[:28, :, 3].max(), values[36:, :, 3].min()) == pytest.approx((0, 1), abs=0.005)


def test_webm_has_an_alpha_plane(tmp_path: Path) -> None:
    pictures = [with_alpha(frame) for frame in frames(4, size=(160, 120))]
    write(tmp_path / "out.webm", pictures, kind="alpha")
    with av.open(str(tmp_path / "out.webm")) as container:
        assert container.streams.video[0].metadata.get("alpha_mode") == "1"
    for image, picture in zip(Written(tmp_path / "out.webm").images, pictures, strict=True):
        assert np.abs(image[..., 3].astype(int) - picture.image[..., 3]).mean() < 1
        assert np.array_equal(image[..., 3] > 127, picture.image[..., 3] > 127)
        hidden = picture.image[..., 3] == 0
        assert psnr(image[hidden][..., :3], picture.image[hidden][..., :3]) > 30


@pytest.mark.parametrize("deep", [False, True], ids=["8", "deep"])
def test_ffv1_is_lossless(tmp_path: Path, deep: bool) -> None:
    pictures = [with_alpha(frame) for frame in frames(4, size=(161, 121), deep=deep)]
    color = ColorTags("bt709", "bt709", "bt709", "tv")
    write(tmp_path / "out.mkv", pictures, kind="alpha", clip=clip_info(size=(161, 121), color=color))
    back = Written(tmp_path / "out.mkv")
    assert (back.codec, back.color) == ("ffv1", ColorTags("bt709", "bt709", "gbr", "pc"))
    for image, picture in zip(back.images, pictures, strict=True):
        assert np.array_equal(image, picture.image)


# --- real reader, real clips


def through(source: Path, output: Path, *, count: int | None = None) -> tuple[list[Frame], list[Frame]]:
    """A clip's frames, and those of a copy made of them, as the package reads them."""
    with AvReader(str(source)) as clip:
        before = [frame for frame, _ in zip(clip, range(count or 10**9), strict=False)]
        write(output, before, clip=clip.info)
    with AvReader(str(output)) as clip:
        return before, list(clip)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("color", [ColorTags(), ColorTags("bt709", "bt709", "bt709", "pc")], ids=["none", "full"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_pictures_that_nothing_changed_come_back(tmp_path: Path, suffix: str, color: ColorTags, pix_fmt: str) -> None:
    codec = "libx265" if "10" in pix_fmt else "libx264"
    source = make_clip(tmp_path / "in.mp4", size=(320, 240), frames=8, color=color, pix_fmt=pix_fmt, codec=codec)
    before, after = through(source, tmp_path / f"out{suffix}")
    assert len(before) == len(after) == 8
    for one, other in zip(before, after, strict=True):
        flat = np.s_[64:176, 8:-8]  # the ramp: no saturated edges, whose chroma 4:2:0 can't hold
        assert psnr(one.image[flat], other.image[flat]) > 40
        assert abs(one.image[flat].mean() / other.image[flat].mean() - 1) < 0.003  # neither range nor matrix astray


@pytest.mark.parametrize("name", ["clips/01_dog.mp4", "clips/bedroom.mp4", "clips/05_default_juggle.mp4"])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_real_clips_lose_next_to_nothing(tmp_path: Path, name: str, suffix: str) -> None:
    before, after = through(shared(name), tmp_path / f"out{suffix}", count=12)
    assert len(after) == 12
    assert min(psnr(one.image, other.image) for one, other in zip(before, after, strict=True)) > 40


def test_a_cursed_clip_keeps_its_times(tmp_path: Path) -> None:
    before, after = through(shared("io/cursed-vfr.mp4"), tmp_path / "out.mp4")
    assert [frame.pts_seconds for frame in after] == [frame.pts_seconds for frame in before]
    assert len({b - a for a, b in zip([f.pts for f in before], [f.pts for f in before][1:], strict=False)}) > 20


# --- what can't be written


@pytest.fixture
def clip() -> ClipInfo:
    return clip_info()


@pytest.mark.parametrize(
    ("name", "kind"), [("a.mp4", "alpha"), ("a.avi", "color"), ("a.gif", "matte"), ("a", "color"), (".mp4", "color")]
)
def test_an_unfit_extension_is_refused(tmp_path: Path, clip: ClipInfo, name: str, kind: Any) -> None:
    with pytest.raises(UsageError, match=r"\.mov.*\.webm|\.mp4 \.mov") as caught:
        VideoWriter(tmp_path / name, clip=clip, kind=kind)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "size", "words"),
    [
        (
            "m.mp4",
            "matte",
            (16500, 32),
            "16500x32 are more than .mp4 holds here (16384x16384); use .webm (VP9) or a folder",
        ),
        ("v.mov", "color", (32, 16500), "more than .mov holds here"),
        ("v.webm", "color", (70000, 32), "more than .webm holds here (65535x65535)"),
        ("a.mov", "alpha", (70000, 32), "use .mkv (FFV1) or a folder (PNG)"),
    ],
)
def test_a_picture_that_is_too_large_is_told_at_once(
    tmp_path: Path, name: str, kind: Any, size: tuple[int, int], words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        VideoWriter(tmp_path / name, clip=clip_info(size=size), kind=kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"), [("m.mp4", "matte"), ("v.mp4", "color"), ("v.webm", "color"), ("a.mov", "alpha")]
)
def test_the_largest_pictures_are_written(tmp_path: Path, name: str, kind: Any) -> None:
    side = 65535 if name == "a.mov" else 16384
    image = np.zeros((16, side, {"matte": 1, "color": 3, "alpha": 4}[kind]), np.uint8)
    writer = VideoWriter(tmp_path / name, clip=clip_info(size=(side, 16)), kind=kind)
    writer.write(Frame(0, 0, Fraction(1, 25), image[..., 0] if kind == "matte" else image))
    writer.finish()
    with av.open(str(tmp_path / name)) as container:
        assert [frame.width for frame in container.decode(video=0)] == [side]


@pytest.mark.parametrize("size", [(6144, 3456), (640, 50), (50, 3000), (320, 50), (3, 200)])
def test_lossless_alpha_takes_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    writer = VideoWriter(tmp_path / "a.mkv", clip=clip_info(size=size), kind="alpha")
    writer.write(Frame(0, 0, Fraction(1, 25), np.full((size[1], size[0], 4), 7, np.uint8)))
    writer.finish()
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [size]


def test_an_output_that_exists_stays(tmp_path: Path, clip: ClipInfo) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        VideoWriter(tmp_path / "out.mp4", clip=clip, kind="color")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_overwriting_replaces_at_the_end_alone(tmp_path: Path, clip: ClipInfo) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("mine")
    writer = VideoWriter(output, clip=clip, kind="color", overwrite=True)
    for frame in frames(5):
        writer.write(frame)
    assert output.read_text() == "mine"
    writer.finish()
    assert len(Written(output).seconds) == 5
    writer.abort()  # after the end it does nothing
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("count", [0, 1, 30])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_abort_leaves_nothing(tmp_path: Path, clip: ClipInfo, count: int, suffix: str) -> None:
    writer = VideoWriter(tmp_path / f"out{suffix}", clip=clip, kind="color")
    for frame in frames(count):
        writer.write(frame)
    assert [path.suffix for path in tmp_path.iterdir()] == [suffix]
    assert not (tmp_path / f"out{suffix}").exists()
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_no_frame_is_no_video(tmp_path: Path, clip: ClipInfo) -> None:
    writer = VideoWriter(tmp_path / "out.mp4", clip=clip, kind="color")
    with pytest.raises(OutputError, match="no frame"):
        writer.finish()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda frame: frame.with_image(frame.image[:32]),
        lambda frame: frame.with_image(frame.image.astype(np.uint16)),
        lambda frame: replace(frame, time_base=Fraction(1, 1000)),
        lambda frame: replace(frame, pts=0),
    ],
    ids=["size", "depth", "time base", "time"],
)
def test_a_frame_that_does_not_fit_is_told(tmp_path: Path, clip: ClipInfo, wrong: Any) -> None:
    first, second = frames(2)
    writer = VideoWriter(tmp_path / "out.mp4", clip=clip, kind="color")
    writer.write(first)
    with pytest.raises(OutputError, match="frame 1 is"):
        writer.write(wrong(second))
    writer.abort()


@pytest.mark.parametrize("kind", ["matte", "alpha"])
def test_a_picture_of_another_kind_is_told(tmp_path: Path, clip: ClipInfo, kind: Any) -> None:
    writer = VideoWriter(tmp_path / "out.mov", clip=clip, kind=kind)
    with pytest.raises(OutputError, match=f"no picture of kind {kind}"):
        writer.write(frames(1)[0])
    writer.abort()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_full_disk_is_told(small_disk: Path, suffix: str) -> None:
    noise = np.random.default_rng(0)
    writer = VideoWriter(small_disk / f"out{suffix}", clip=clip_info(size=(320, 240)), kind="color")

    def fill() -> None:
        for frame in frames(60, size=(320, 240)):
            writer.write(frame.with_image(noise.integers(0, 256, frame.image.shape, dtype=np.uint8)))
        writer.finish()

    with pytest.raises(OutputError, match="the disk is full"):
        fill()
    writer.abort()
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_at_the_end_is_told(small_disk: Path) -> None:
    writer = VideoWriter(small_disk / "out.mp4", clip=clip_info(), kind="color")
    for frame in frames(1000):
        writer.write(frame)
    room = os.statvfs(small_disk)
    assert room.f_bavail > 0  # the frames alone fit
    (small_disk / "ballast").write_bytes(b"x" * (room.f_bavail * room.f_bsize))
    with pytest.raises(OutputError, match="the disk is full"):
        writer.finish()
    writer.abort()
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_errors_of_ffmpeg_are_told(tmp_path: Path, clip: ClipInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = VideoWriter(tmp_path / "out.mp4", clip=clip, kind="color")

    def broken(*_: object, **__: object) -> None:
        raise av.error.InvalidDataError(errno.EINVAL, "nonsense")

    monkeypatch.setattr("trackmatte.io.encode.av.open", broken)
    with pytest.raises(OutputError, match=r"can't write .*out\.mp4: nonsense"):
        writer.write(frames(1)[0])
    writer.abort()
    assert list(tmp_path.iterdir()) == []
