"""Folders of images as clips."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.assets.make_assets import make_images, number, picture
from tests.shared_data import shared
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
