"""Masks as images: what is the object in them."""

import os
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.assets.make_assets import make_tiff
from tests.unit.io.mask_files import MASK, save, save_indexed
from trackmatte.errors import PromptError
from trackmatte.io.masks import read_mask
from trackmatte.palette import davis_palette


def only(path):
    ((name, mask),) = read_mask(path)
    assert name is None
    assert mask.dtype == bool
    return mask


@pytest.mark.parametrize("value", [1, 90, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_non_zero_is_the_object(tmp_path, value, channels):
    pixels = MASK * value if channels == 1 else np.stack([MASK * 0, MASK * value, MASK * 0], axis=2)
    assert np.array_equal(only(save(tmp_path / "m.png", pixels)), MASK)


def test_images_of_1_and_of_16_bits(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "bit.png")
    assert np.array_equal(only(tmp_path / "bit.png"), MASK)
    Image.fromarray(MASK.astype(np.uint16) * 300).save(tmp_path / "deep.png")
    assert np.array_equal(only(tmp_path / "deep.png"), MASK)


def test_an_alpha_channel_that_is_not_opaque_is_the_mask(tmp_path):
    rgba = np.full((6, 9, 4), 200)
    rgba[..., 3] = np.where(MASK, 128, 127)
    assert np.array_equal(only(save(tmp_path / "a.png", rgba)), MASK)


def test_an_opaque_alpha_channel_is_not(tmp_path):
    rgba = np.full((6, 9, 4), 255)
    rgba[..., :3] = (MASK * 9)[..., None]
    assert np.array_equal(only(save(tmp_path / "a.png", rgba)), MASK)


def test_the_black_of_a_jpeg_is_black(tmp_path):
    big = np.kron(MASK, np.ones((20, 20), bool))
    path = save(tmp_path / "m.jpg", big * 255, quality=30)
    noisy = np.asarray(Image.open(path))
    assert ((noisy > 0) != big).any(), "this JPEG is too good for the test"
    assert np.array_equal(only(path), big)


def test_each_index_is_an_object_and_255_is_nobodys(tmp_path):
    pixels = np.zeros((6, 9), np.uint8)
    pixels[0], pixels[1], pixels[2] = 1, 7, 255
    found = read_mask(save_indexed(tmp_path / "m.png", pixels))
    assert [name for name, _ in found] == ["1", "7"]
    assert np.array_equal(found[1][1], pixels == 7)


def test_an_indexed_picture_of_0_and_255_is_one_mask(tmp_path):
    assert np.array_equal(only(save_indexed(tmp_path / "m.png", MASK * 255)), MASK)


def test_a_picture_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "m.png", MASK * 255, exif=exif)
    assert np.array_equal(only(tmp_path / "m.png"), np.rot90(MASK, -1))


@pytest.mark.parametrize("kind", ["grey", "indexed", "clear"])
def test_an_empty_mask_is_refused(tmp_path, kind):
    empty = np.zeros((4, 4))
    path = tmp_path / "m.png"
    if kind == "clear":
        save(path, np.zeros((4, 4, 4)))
    else:
        (save_indexed if kind == "indexed" else save)(path, empty)
    with pytest.raises(PromptError, match="is empty"):
        read_mask(path)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "truncated"])
def test_a_file_that_is_no_image_is_refused(tmp_path, kind):
    path = tmp_path / "m.png"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        data = save(path, np.random.default_rng(0).integers(0, 255, (50, 50))).read_bytes()
        path.write_bytes({"empty": b"", "text": b"mask", "truncated": data[: len(data) // 2]}[kind])
    with pytest.raises(PromptError, match=r"m\.png") as caught:
        read_mask(path)
    assert "\n" not in str(caught.value)


Y, X = np.mgrid[:120, :160] + 0.5
ELLIPSE = ((X - 70) / 50) ** 2 + ((Y - 60) / 35) ** 2 < 1
SOFT = cv2.GaussianBlur(ELLIPSE.astype(np.float32), (0, 0), 6)
HALF = SOFT >= 0.5
GREYS = [value for i in range(256) for value in (i, i, i)]


def grey(levels=255):
    return np.round(SOFT * levels).astype(np.uint8)


def near(mask, expected=HALF, share=0.01):
    """Agrees up to a share of the object."""
    return np.count_nonzero(mask != expected) <= share * np.count_nonzero(expected)


def save_with(path, indices, palette, **options):
    image = Image.fromarray(np.asarray(indices, np.uint8))
    image.putpalette(palette)
    image.save(path, **options)
    return path


def test_white_at_index_0_is_the_object(tmp_path):
    path = save_with(tmp_path / "m.png", ~ELLIPSE, [255, 255, 255, 0, 0, 0])
    assert np.array_equal(only(path), ELLIPSE)


@pytest.mark.parametrize("colors", [[0, 0, 90, 255, 220, 0], [20, 20, 20, 90, 90, 90], [0, 0, 0, 128, 0, 0]])
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_colours_the_brighter_is_the_object(tmp_path, colors, swapped):
    palette = colors[3:] + colors[:3] if swapped else colors
    assert np.array_equal(only(save_with(tmp_path / "m.png", ELLIPSE ^ swapped, palette)), ELLIPSE)


@pytest.mark.parametrize("palette", [GREYS, GREYS[::-1], [v for i in range(256) for v in (i, i // 4, 0)]])
def test_a_palette_of_shades_is_one_soft_mask(tmp_path, palette):
    indices = 255 - grey() if palette[0] else grey()
    assert near(only(save_with(tmp_path / "m.png", indices, palette)))


@pytest.mark.parametrize("colors", [16, 32, 256])
def test_an_antialiased_mask_with_fewer_colours_is_one_object(tmp_path, colors):
    Image.fromarray(np.dstack([grey()] * 3)).quantize(colors).save(tmp_path / "m.png")
    assert near(only(tmp_path / "m.png"), share=0.05)


def test_labels_saved_without_a_palette_stay_labels(tmp_path):
    path = save_with(tmp_path / "m.png", ELLIPSE * 1 + (X > 150) * 3 + (Y < 3) * (X < 150) * 255, GREYS)
    assert [name for name, _ in read_mask(path)] == ["1", "3"]


def test_one_label_of_many_keeps_its_name(tmp_path):
    ((name, mask),) = read_mask(save_with(tmp_path / "m.png", ELLIPSE * 2, davis_palette()))
    assert name == "2"
    assert np.array_equal(mask, ELLIPSE)


def test_a_transparent_background_stays_one(tmp_path):
    palette = [255, 255, 255, 255, 0, 0, 0, 0, 255]
    path = save_with(tmp_path / "m.png", ELLIPSE * 1 + (X > 150) * 2, palette, transparency=0)
    assert [name for name, _ in read_mask(path)] == ["1", "2"]


def test_other_transparency_in_a_palette_is_the_mask(tmp_path):
    palette = [v for i in range(256) for v in (i, 255 - i, i // 2)]
    path = save_with(tmp_path / "m.png", grey(), palette, transparency=bytes(range(256)))
    assert near(only(path))


def test_too_many_colours_to_be_objects_are_refused_with_a_remedy(tmp_path):
    rng = np.random.default_rng(0)
    path = save_with(tmp_path / "m.png", np.arange(200).reshape(10, 20), rng.integers(0, 255, 768).tolist())
    with pytest.raises(PromptError, match=r"199 colours.*NAME="):
        read_mask(path)
    ((name, mask),) = read_mask(path, named=True)
    assert name is None
    assert np.count_nonzero(mask) == 199


@pytest.mark.parametrize("name", ["m.png", "m.jpg", "m.webp", "m.tif"])
def test_a_blurred_mask_has_its_edge_at_half(tmp_path, name):
    assert near(only(save(tmp_path / name, grey())))


def test_a_thin_edge_of_few_levels_is_soft(tmp_path):
    fine = np.kron(ELLIPSE, np.ones((2, 2)))
    coarse = cv2.resize(np.roll(fine, 1, axis=(0, 1)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert len(np.unique(coarse)) <= 5
    assert np.array_equal(only(save(tmp_path / "m.png", np.round(coarse * 255))), coarse >= 0.5)


def test_grey_labels_are_all_the_object(tmp_path):
    labels = ELLIPSE * 100 + (X > 140) * 200
    assert np.array_equal(only(save(tmp_path / "m.png", labels)), labels > 0)


def test_a_mask_in_limited_range_has_its_edge_at_half(tmp_path):
    assert np.array_equal(only(save(tmp_path / "m.png", np.where(ELLIPSE, 235, 16))), ELLIPSE)


@pytest.mark.parametrize("channels", [2, 4])
def test_soft_alpha_has_its_edge_at_half(tmp_path, channels):
    layers = [np.full_like(grey(), 9)] * (channels - 1)
    assert near(only(save(tmp_path / "m.png", np.dstack([*layers, grey()]))))


@pytest.mark.parametrize(
    ("kind", "white"),
    [("f4", 1), ("f8", 1), ("f4", 255), ("u2", 65535), ("i4", 65535), ("u4", 2**32 - 1), ("i2", 32767), ("i4", 255)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_masks_of_other_depths(tmp_path, kind, white, channels):
    for mask, expected in ((SOFT, HALF), (ELLIPSE, ELLIPSE), (ELLIPSE / white, ELLIPSE)):
        pixels = np.minimum(mask.astype(np.float64) * white, white).astype(kind)
        pixels = np.dstack([pixels] * channels) if channels > 1 else pixels
        assert near(only(make_tiff(tmp_path / "m.tif", pixels)), expected)


def test_nan_is_black(tmp_path):
    pixels = np.where(ELLIPSE, np.nan, 1).astype(np.float32)
    assert np.array_equal(only(make_tiff(tmp_path / "m.tif", pixels)), ~ELLIPSE)


def test_cmyk(tmp_path):
    Image.fromarray(np.dstack([ELLIPSE * np.uint8(255)] * 3)).convert("CMYK").save(tmp_path / "m.tif")
    assert np.array_equal(only(tmp_path / "m.tif"), ELLIPSE)


def test_an_image_too_large_is_refused_by_its_header(tmp_path):
    small = np.ones((4, 4), np.float32)
    with pytest.raises(PromptError, match="100000x100000 is more than"):
        read_mask(make_tiff(tmp_path / "m.tif", small, size=(100_000, 100_000)))
    data = bytearray(save(tmp_path / "m.png", small).read_bytes())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = _crc(data[12:29])
    (tmp_path / "m.png").write_bytes(data)
    with pytest.raises(PromptError, match="more than 178956970 pixels"):
        read_mask(tmp_path / "m.png")


def _crc(data):
    return zlib.crc32(data).to_bytes(4, "big")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "m.png")
    with pytest.raises(PromptError, match="pipe"):
        read_mask(tmp_path / "m.png")
