"""Folders of images as clips."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.assets.make_assets import make_images, make_tiff, number, picture
from tests.shared_data import shared
from trackmatte.errors import InputError
from trackmatte.io.decode import open_clip
from trackmatte.io.images import list_images
from trackmatte.io.probe import probe


@pytest.mark.parametrize(
    ("suffix", "bits"), [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".bmp", 8), (".jpg", 8), (".webp", 8)]
)
def test_formats_and_natural_order(tmp_path: Path, suffix: str, bits: int) -> None:
    folder = make_images(tmp_path / "a", frames=12, suffix=suffix, bits=bits)  # frame1 ... frame12
    with open_clip(folder) as clip:
        frames = list(clip)
        assert clip.info.bit_depth == bits
    assert [number(frame.image) for frame in frames] == list(range(12))
    assert [frame.pts_seconds for frame in frames] == [Fraction(i, 24) for i in range(12)]
    for frame in frames:
        assert frame.image.dtype == (np.uint16 if bits == 16 else np.uint8)
        if suffix != ".jpg":
            assert np.array_equal(frame.image, np.round(picture(frame.index) * (2**bits - 1)))


def test_rate_and_info(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "a", frames=6)
    with open_clip(folder, rate=Fraction(30000, 1001)) as clip:
        assert [frame.pts_seconds for frame in clip] == [Fraction(1001 * i, 30000) for i in range(6)]
        assert clip.info.duration_seconds == Fraction(6 * 1001, 30000)
    info = probe(folder)
    assert (info.container, info.codec, info.frames, info.rate, info.width, info.height) == (
        "images", "png", 6, 24, 96, 64,
    )  # fmt: skip
    assert info.color.matrix == "gbr"


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "a", frames=3)
    (folder / "notes.txt").write_text("hello")
    (folder / ".frame0.png").write_bytes(b"left by a file manager")
    (folder / "frame0.png").mkdir()
    assert [file.name for file in list_images(folder)] == ["frame1.png", "frame2.png", "frame3.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = np.round(picture(5) * 255).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    with open_clip(tmp_path) as clip:
        assert np.array_equal(next(iter(clip)).image, upright)
        assert (clip.info.width, clip.info.height) == (96, 64)


@pytest.mark.parametrize("mode", ["P", "L", "RGBA", "1", "LA", "I;16"])
def test_modes(tmp_path: Path, mode: str) -> None:
    rgb = Image.fromarray(np.round(picture(5) * 255).astype(np.uint8))
    if mode == "I;16":
        grey = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
        grey.save(tmp_path / "a.png")
    else:
        (rgb.quantize(64) if mode == "P" else rgb.convert(mode)).save(tmp_path / "a.png")
    with open_clip(tmp_path) as clip:
        image = next(iter(clip)).image
    assert image.shape == (64, 96, 3)
    assert image.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    assert number(image) == 5


def test_depths_may_mix(tmp_path: Path) -> None:
    make_images(tmp_path / "deep", frames=1, bits=16)
    folder = make_images(tmp_path / "a", frames=1)
    shutil.copy(tmp_path / "deep" / "frame1.png", folder / "frame2.png")
    with open_clip(folder) as clip:
        first, second = list(clip)
    assert second.image.dtype == np.uint8
    assert np.abs(first.image.astype(int) - second.image).max() <= 1


def test_jpegs_have_pillows_pixels() -> None:
    folder = shared("davis-dev/dogs-jump/frames")
    with open_clip(folder) as clip:
        first = next(iter(clip))
        assert clip.info.frames == len(list(folder.glob("*.jpg")))
    with Image.open(min(folder.glob("*.jpg"))) as image:
        assert np.array_equal(first.image, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("kind", "white", "told"),
    [
        ("f4", 1, ""),
        ("f8", 1, ""),
        ("f4", 255, "255 was taken for white"),
        ("f4", 40_000, "65535 was taken"),
        ("u2", 65535, ""),
        ("i2", 32767, "32767 was taken"),
        ("i4", 65535, "65535 was taken"),
        ("u4", 255, "255 was taken"),
        ("u4", 2**32 - 1, "4294967295 was taken"),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_depths_other_than_8_bits(tmp_path: Path, kind: str, white: float, told: str, grey: bool) -> None:
    pictures = [picture(i).mean(axis=2) if grey else picture(i) for i in (0, 5, 9)]
    for i, values in enumerate([np.zeros_like(pictures[0]), *pictures]):  # a fade from black doesn't set the range
        make_tiff(tmp_path / f"f{i}.tif", (values * float(white)).astype(kind))
    full = 65535 if white == 40_000 else white
    with open_clip(tmp_path) as clip:
        frames = list(clip)
        assert told in " ".join(clip.info.notes)
        assert bool(clip.info.notes) == bool(told)
    assert frames[0].image.max() == 0
    for values, frame in zip(pictures, frames[1:], strict=True):
        assert frame.image.dtype == np.uint16
        shown = values if values.ndim == 3 else values[..., None]
        assert np.abs(frame.image / 65535 - shown * white / full).max() < 0.005


def test_values_beyond_white_are_clipped_and_told(tmp_path: Path) -> None:
    values = (picture(5) * 3).astype(np.float32)
    values[0, 0] = np.nan, -1, np.inf
    make_tiff(tmp_path / "a.tif", values)
    with open_clip(tmp_path) as clip:
        (frame,) = clip
        assert clip.info.notes == ("values above 1 (up to 3) are read as white",)
    assert frame.image[0, 0].tolist() == [0, 0, 65535]
    assert number(frame.image) == 5


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_orientation_of_a_tiff(tmp_path: Path, orientation: int, kind: str) -> None:
    full = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    stored = np.rot90(picture(5), {1: 0, 3: 2, 6: 1, 8: -1}[orientation])
    make_tiff(tmp_path / "a.tif", np.round(stored * full, 4).astype(kind), orientation=orientation)
    with open_clip(tmp_path) as clip:
        (frame,) = clip
        assert number(frame.image) == 5
        assert (clip.info.coded_width, clip.info.coded_height) == (stored.shape[1], stored.shape[0])


@pytest.mark.parametrize("kind", ["CMYK", "transparent palette"])
def test_more_modes(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(np.round(picture(5) * 255).astype(np.uint8))
    if kind == "CMYK":
        image.convert("CMYK").save(tmp_path / "a.tif")
    else:
        image.quantize(64).save(tmp_path / "a.png", transparency=bytes(range(64)))
    with open_clip(tmp_path) as clip, warnings.catch_warnings():
        warnings.simplefilter("error")
        (frame,) = clip
    assert number(frame.image) == 5


def test_half_floats_are_refused_with_a_remedy(tmp_path: Path) -> None:
    make_tiff(tmp_path / "a.tif", picture(5).astype(np.float16))
    with pytest.raises(InputError, match=r"16 bits.*32"):
        probe(tmp_path)


def test_pages_after_the_first_are_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.round(picture(i) * 255).astype(np.uint8)) for i in (5, 6)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with open_clip(tmp_path) as clip:
        assert [number(frame.image) for frame in clip] == [5]
        assert "2 pages" in clip.info.notes[0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["sh010_v003.1001", "sh010_v003.1002", "sh010_v003.1005"], "1001 to 1005, 2 missing, the first 1003"),
        (["a9_left", "a10_left", "a12_left"], "9 to 12, 1 missing, the first 11"),
        (["a1", "a2", "a3"], ""),
        (["a1", "b7", "b9"], ""),
        (["one", "two"], ""),
        (["one"], ""),
    ],
)
def test_gaps_in_the_numbering_are_told(tmp_path: Path, names: list[str], told: str) -> None:
    make_images(tmp_path / "a", frames=1)
    folder = tmp_path / "b"
    folder.mkdir()
    for name in names:
        shutil.copy(tmp_path / "a" / "frame1.png", folder / f"{name}.png")
    info = probe(folder)
    assert info.files == tuple(f"{name}.png" for name in names)
    assert (told in " ".join(info.notes)) if told else not info.notes


def test_a_pipe_is_passed_over(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "a", frames=2)
    os.mkfifo(folder / "frame3.png")
    assert len(list_images(folder)) == 2


def test_a_folder_that_may_be_listed_but_not_entered(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "a", frames=2)
    folder.chmod(0o600)
    code = f"from trackmatte.io.images import list_images; list_images({str(folder)!r})"
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    drop = drop if os.geteuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        pytest.skip("root may enter any folder")
    result = subprocess.run([*drop, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    folder.chmod(0o700)
    assert "not entered" in result.stderr
