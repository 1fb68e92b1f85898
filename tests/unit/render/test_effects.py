"""What each effect does to the pixels of its region, and how effects are named."""

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.unit.render.masks import box_mask, noise, object_masks
from trackmatte.errors import UsageError
from trackmatte.palette import color
from trackmatte.render.effects import EFFECTS, describe_effects, parse_effect

DEPTHS = pytest.mark.parametrize("dtype", [np.uint8, np.uint16])


def apply(text, image, *masks):
    return parse_effect(text).apply(image, object_masks(*masks))


def shown(dtype, rgb):
    return np.array(rgb, np.uint32) * (1 if dtype == np.uint8 else 257)


@DEPTHS
def test_overlay_mixes_in_each_objects_own_colour(dtype):
    image = noise(40, 60, dtype)
    first, second = box_mask(40, 60, 2, 3, 20, 30), box_mask(40, 60, 20, 30, 40, 60)
    out = apply("overlay:0.25", image, first, second)
    for number, mask in ((1, first), (2, second)):
        expected = 0.75 * image[mask] + 0.25 * shown(dtype, color(number))
        assert np.abs(out[mask] - expected).max() <= 0.51
    assert np.array_equal(out[~(first | second)], image[~(first | second)])


def test_overlay_of_opacity_0_and_1_is_the_picture_and_the_colour():
    image, mask = noise(20, 20), box_mask(20, 20, 5, 5, 15, 15)
    assert np.array_equal(apply("overlay:0", image, mask), image)
    assert (apply("overlay:1", image, mask)[mask] == color(1)).all()


def test_an_absent_object_keeps_its_number():
    mask = box_mask(20, 20, 5, 5, 15, 15)
    out = apply("overlay:1", noise(20, 20), np.zeros_like(mask), mask)
    assert (out[mask] == color(2)).all()


@DEPTHS
def test_outline_is_a_line_of_the_thickness_asked_for_inside_the_mask(dtype):
    image, mask = noise(40, 50, dtype), box_mask(40, 50, 10, 10, 30, 40)
    out = apply("outline:3", image, mask)
    line = mask & ~box_mask(40, 50, 13, 13, 27, 37)
    assert (out[line] == shown(dtype, color(1))).all()
    assert np.array_equal(out[~line], image[~line])


def test_outline_takes_a_colour():
    image, mask = noise(40, 50), box_mask(40, 50, 10, 10, 30, 40)
    out = apply("outline:#ff8000", image, mask)
    assert tuple(out[10, 20]) == (255, 128, 0)
    assert np.array_equal(out[20, 25], image[20, 25])


def test_outline_leaves_the_pictures_edge_open():
    image, mask = noise(40, 50), box_mask(40, 50, 0, 0, 20, 25)
    out = apply("outline:2", image, mask)
    assert np.array_equal(out[:18, :23], image[:18, :23])
    assert (out[19, :25] == color(1)).all()


def test_touching_objects_keep_a_line_each():
    out = apply("outline:1", noise(20, 40), box_mask(20, 40, 0, 0, 20, 20), box_mask(20, 40, 0, 20, 20, 40))
    assert (out[:, 19] == color(1)).all()
    assert (out[:, 20] == color(2)).all()


@DEPTHS
def test_grayscale_leaves_luma_alone(dtype):
    image, mask = noise(30, 30, dtype), box_mask(30, 30, 5, 5, 25, 25)
    out = apply("grayscale", image, mask)
    luma = image[mask] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(out[mask] - luma[:, None]).max() <= 2
    assert np.ptp(out[mask].astype(int), axis=1).max() == 0


@DEPTHS
@pytest.mark.parametrize(
    ("effect", "rgb", "inside"),
    [
        ("fill", (0, 0, 0), True),
        ("fill:#1080ff", (16, 128, 255), True),
        ("cutout", (0, 0, 0), False),
        ("cutout:white", (255, 255, 255), False),
        ("fill-background", (0, 255, 0), False),
        ("fill-background:#00f", (0, 0, 255), False),
    ],
)
def test_fill_paints_one_side_and_keeps_the_other(effect, rgb, inside, dtype):
    image, mask = noise(30, 31, dtype), box_mask(30, 31, 5, 5, 25, 25)
    out = apply(effect, image, mask)
    region = mask if inside else ~mask
    assert (out[region] == shown(dtype, rgb)).all()
    assert np.array_equal(out[~region], image[~region])


@DEPTHS
def test_pixelate_shows_the_means_of_blocks_that_stand_still(dtype):
    image = noise(64, 64, dtype)
    mask = box_mask(64, 64, 8, 8, 56, 56)
    out = apply("pixelate:8", image, mask)
    for top in range(8, 56, 8):
        for left in range(8, 56, 8):
            block = np.s_[top : top + 8, left : left + 8]
            assert np.abs(out[block] - image[block].mean(axis=(0, 1))).max() <= 1
    moved = apply("pixelate:8", image, box_mask(64, 64, 11, 13, 56, 56))
    assert np.array_equal(moved[16:56, 16:56], out[16:56, 16:56])


def test_a_block_with_one_pixel_of_the_object_does_not_show_it():
    image = np.zeros((64, 64, 3), np.uint8)
    mask = box_mask(64, 64, 31, 31, 32, 32)
    image[mask] = 255
    assert apply("pixelate:32", image, mask)[31, 31].max() < 32
    assert apply("blur:16", image, mask)[31, 31].max() < 32


@DEPTHS
def test_blur_is_a_gaussian_of_the_radius_asked_for(dtype):
    top = np.iinfo(dtype).max
    image = np.zeros((201, 201, 3), dtype)
    image[:, 101:] = top
    full = np.ones((201, 201), bool)
    for radius in (1, 5, 20):
        row = apply(f"blur:{radius}", image, full)[100, :, 0] / top
        slope = np.diff(row)
        place = np.arange(200) + 0.5
        mean = (slope * place).sum()
        spread = np.sqrt((slope * (place - mean) ** 2).sum())
        assert mean == pytest.approx(100.5, abs=0.3)
        assert spread == pytest.approx(radius, rel=0.08)


@pytest.mark.parametrize("effect", ["blur", "pixelate"])
@pytest.mark.parametrize(("size", "side"), [((270, 480), 60), ((270, 480), 250), ((720, 1280), 200)])
def test_by_default_an_objects_features_are_gone(effect, size, side):
    """Stripes as wide as a sixteenth of the object lose most of their contrast."""
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    mask = box_mask(*size, top, left, top + side, left + side)
    columns = (np.arange(size[1]) // (side / 16)).astype(int) % 2
    image = np.repeat(np.broadcast_to(columns * 200, size)[..., None], 3, axis=2).astype(np.uint8)
    out = apply(effect, image, mask)[top + side // 4 : top + 3 * side // 4, left + side // 4 : left + 3 * side // 4]
    assert np.abs(out - 100.0).mean() < 25


@pytest.mark.parametrize("effect", ["blur-background", "pixelate-background"])
def test_the_object_leaves_no_halo_in_the_background(effect):
    mask = box_mask(120, 160, 40, 50, 80, 110)
    image = np.where(mask[..., None], 255, 40).repeat(3, axis=2).astype(np.uint8)
    assert apply(effect, image, mask)[~mask].max() < 40 + 0.15 * (255 - 40)


@pytest.mark.parametrize("effect", ["blur:4000", "pixelate:4000", "blur:1e300"])
def test_a_strength_beyond_the_picture_is_the_strongest_there_is(effect):
    image, mask = noise(30, 50), box_mask(30, 50, 5, 5, 25, 25)
    out = apply(effect, image, mask)
    assert out[mask].std(axis=0).max() < 3
    assert np.array_equal(out[~mask], image[~mask])


def test_replace_background_covers_the_frame_around_the_middle(tmp_path):
    picture = np.zeros((40, 200, 3), np.uint8)
    picture[:, :80], picture[:, 80:120], picture[:, 120:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    image, mask = noise(80, 80), box_mask(80, 80, 30, 30, 50, 50)
    out = apply(f"replace-background:{tmp_path}/wide.png", image, mask)
    assert (out[~mask] == (0, 255, 0)).all()
    assert np.array_equal(out[mask], image[mask])


@pytest.mark.parametrize("stored", [np.uint8, np.uint16])
@DEPTHS
def test_replace_background_keeps_colours_and_depth(tmp_path, stored, dtype):
    rgb = (10, 100, 250)
    picture = np.empty((7, 9, 3), stored)
    picture[:] = shown(stored, rgb)
    cv2.imwrite(str(tmp_path / "plain.png"), picture[..., ::-1])
    image, mask = noise(33, 21, dtype), box_mask(33, 21, 3, 3, 9, 9)
    effect = parse_effect(f"replace-background:{tmp_path}/plain.png")
    assert (effect.apply(image, object_masks(mask))[~mask] == shown(dtype, rgb)).all()
    other = noise(12, 40, np.uint8)
    assert (effect.apply(other, object_masks(np.zeros((12, 40)))) == shown(np.uint8, rgb)).all()


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_an_image_that_can_not_be_read_is_a_usage_error(tmp_path, content):
    path = tmp_path / "back.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(str(path))) as caught:
        parse_effect(f"replace-background:{path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in EFFECTS if name != "replace-background"])
def test_where_no_object_is_there_all_is_background(name):
    image, empty = noise(24, 30), np.zeros((24, 30), bool)
    out = apply(name, image, empty)
    if "background" in name or name == "cutout":
        assert not np.array_equal(out, image)
    else:
        assert np.array_equal(out, image)
        assert out is not image


@pytest.mark.parametrize(
    "text",
    [
        "overlay:1.5", "overlay:nan", "overlay:", "outline:0", "outline:thick", "outline:inf", "blur:0", "blur:-3",
        "blur:inf", "blur:x", "pixelate:1", "pixelate:2.5", "grayscale:1", "grayscale:", "fill:12", "fill:#12345",
        "fill:#11223344", "cutout:", "fill-background:nocolour", "replace-background", "replace-background:",
    ],
)  # fmt: skip
def test_a_wrong_argument_says_what_is_expected(text):
    with pytest.raises(UsageError) as caught:
        parse_effect(text)
    name = text.partition(":")[0]
    assert text in str(caught.value)
    assert f"write {name}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["glow", "", "Blur", "blur background", ":3", "overlay-background"])
def test_an_unknown_effect_lists_all(text):
    with pytest.raises(UsageError) as caught:
        parse_effect(text)
    assert all(name in str(caught.value) for name in EFFECTS)


def test_the_table_holds_all_promised_effects_and_describes_them():
    objects = ["overlay", "outline", "blur", "pixelate", "grayscale", "fill", "cutout"]
    backgrounds = ["blur", "pixelate", "grayscale", "fill", "replace"]
    promised = objects + [f"{name}-background" for name in backgrounds]
    assert list(EFFECTS) == promised
    lines = describe_effects().splitlines()
    assert [re.match("[a-z-]+[a-z]", line).group() for line in lines] == promised
    assert all(kind.help for kind in EFFECTS.values())


@pytest.mark.parametrize("name", [name for name in EFFECTS if name != "replace-background"])
def test_views_that_are_not_contiguous_are_taken(name):
    image, mask = noise(40, 50)[::-1, ::2], np.asfortranarray(box_mask(40, 25, 5, 5, 30, 20))
    plain = apply(name, np.ascontiguousarray(image), np.ascontiguousarray(mask))
    assert np.array_equal(apply(name, image, mask), plain)
