"""The ruler counts the clip's pixels, and what is drawn lies where the prompts and masks are."""

import numpy as np
import pytest

from tests.unit.render.masks import box_mask, noise, object_masks
from trackmatte.palette import color
from trackmatte.render.preview import preview_picture
from trackmatte.render.ruler import add_grid, choose_scale, font, with_ruler
from trackmatte.types import Box, Mask, Point

SIZES = [(240, 135), (135, 240), (640, 480), (1280, 720), (1080, 1920), (3840, 2160), (7680, 4320), (2000, 60)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_numbers_are_large_enough_and_apart(width, height):
    scale = choose_scale(width, height)
    assert scale.text >= max(11, min(width, height) // 50)
    assert scale.step > 1.5 * font(scale.text).getlength(str(max(width, height)))
    assert 4 <= max(width, height) / scale.step <= 45
    assert scale.step % scale.minor == 0
    assert int(str(scale.step).rstrip("0")) in (1, 2, 5)


@pytest.mark.parametrize("zoom", [1, 3])
def test_the_ruler_lies_outside_and_ticks_are_at_whole_numbers_of_pixels(zoom):
    picture = noise(90 * zoom, 160 * zoom)
    scale = choose_scale(160, 90, zoom=zoom)
    result = with_ruler(picture, scale)
    assert np.array_equal(result[: 90 * zoom, : 160 * zoom], picture)
    for row, length in ((result[90 * zoom, : 160 * zoom, 0], 160), (result[: 90 * zoom, 160 * zoom, 0], 90)):
        assert np.flatnonzero(row > 200).tolist() == [number * zoom for number in range(0, length, scale.minor)]


def test_a_number_stands_at_every_step_and_nowhere_else():
    scale = choose_scale(1280, 720)
    result = with_ruler(noise(720, 1280), scale)
    numbers = result[720 + scale.text // 2 + 1 :, :1280, 0].max(axis=0) > 100
    places = np.flatnonzero(numbers)
    nearest = np.rint(places / scale.step) * scale.step
    assert set(nearest) == set(range(0, 1280, scale.step))
    spans = [places[nearest == number] for number in range(scale.step, 1280, scale.step)]
    assert np.allclose([(x[0] + x[-1]) / 2 for x in spans], range(scale.step, 1280, scale.step), atol=2)
    assert np.abs(places - nearest)[nearest > 0].max() < scale.step / 2 - 10


def test_lines_lie_at_the_numbers_and_nothing_else_changes():
    picture = noise(720, 1280)
    drawn = picture.copy()
    add_grid(drawn, choose_scale(1280, 720))
    changed = (drawn != picture).any(axis=2)
    columns, rows = changed[50:90].any(axis=0), changed[:, 50:90].any(axis=1)
    assert np.flatnonzero(columns).tolist() == sorted(x + d for x in range(100, 1280, 100) for d in (0, 1))
    assert np.flatnonzero(rows).tolist() == sorted(y + d for y in range(100, 720, 100) for d in (0, 1))
    assert np.abs(drawn.astype(int) - picture)[:90].max() <= 0.36 * 255
    dark, bright = np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)
    for plain in (dark, bright):
        add_grid(plain, choose_scale(300, 300))
    assert dark[50, 20, 0] > 60
    assert bright[51, 20, 0] < 200


def test_a_small_picture_is_enlarged_by_a_whole_factor():
    image = noise(48, 64)
    result = preview_picture(image)
    inside = result[: 48 * 4, : 64 * 4]
    assert np.array_equal(inside[2::4, 2::4][:9, :9], image[:9, :9])  # left of the first line
    assert preview_picture(noise(240, 135)).shape[0] < 270


def test_prompts_and_masks_lie_where_they_are():
    image = np.full((360, 640, 3), 128, np.uint8)
    mask = box_mask(360, 640, 100, 50, 260, 250)
    prompts = [Point(150, 180), Point(420, 80, positive=False), Box(300, 150, 500, 330)]
    result = preview_picture(image, prompts, object_masks(mask))
    red, green, blue = np.moveaxis(result.astype(int), -1, 0)
    clicks = np.argwhere((green > red + 100) & (green > blue + 60))
    assert np.allclose((clicks.min(axis=0) + clicks.max(axis=0) + 1) / 2, (180, 150), atol=1)
    beside = np.argwhere((red > 200) & (green < 60))
    assert np.allclose((beside.min(axis=0) + beside.max(axis=0) + 1) / 2, (80, 420), atol=1)
    tint = 0.55 * np.array((128, 128, 128)) + 0.45 * np.array(color(1))
    assert np.allclose(result[130, 80], tint, atol=1)
    assert (result[100, 60] == 255).all()  # its edge
    assert (result[98, 60] == 128).all()
    assert (result[240, 300] == color(1)).all()  # the box
    assert (result[240, 320] == 128).all()


def test_names_are_written_where_there_are_several_objects():
    image = np.full((360, 640, 3), 128, np.uint8)
    one = [Point(110, 120, name="dog"), Point(110, 170, name="dog", positive=False)]
    several = [*one, Mask(mask=box_mask(360, 640, 200, 300, 300, 400), name="cat")]
    alone, both = preview_picture(image, one), preview_picture(image, several)
    assert (alone[120, 122:148] == 128).all()
    assert (both[114, 123] == color(1)).all()
    assert (both[195, 310] == color(2)).all()


def test_boxes_and_names_stay_inside_the_picture():
    image = np.full((100, 300, 3), 128, np.uint8)
    names = [Point(299, 99, name="a long name"), Box(-1e9, -50, 1e9, 40, name="b")]
    result = preview_picture(image, names)
    assert (result[:, 300:] == preview_picture(image)[:, 300:]).all()
    assert (result[95:99, 200:290] == color(1)).all(axis=2).any()
    assert (result[39, 50:250] == color(2)).all(axis=1).any()
