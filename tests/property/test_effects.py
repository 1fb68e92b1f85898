"""For any picture, any masks and any size, an effect changes its own region alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.render.masks import object_masks
from trackmatte.render.alpha import matte, straight_alpha
from trackmatte.render.effects import EFFECTS, Effect, parse_effect
from trackmatte.render.region import background_region
from trackmatte.render.replace import Replace

ARGUMENTS = {
    "overlay": ["", ":0.3", ":1"],
    "outline": ["", ":1", ":4.5", ":#ffffff"],
    "blur": ["", ":0.7", ":3", ":90"],
    "pixelate": ["", ":2", ":7", ":100"],
    "grayscale": [""],
    "fill": ["", ":#123456"],
    "cutout": [""],
    "blur-background": ["", ":2", ":50"],
    "pixelate-background": ["", ":5"],
    "grayscale-background": [""],
    "fill-background": ["", ":red"],
}
NAMES = [name + argument for name, arguments in ARGUMENTS.items() for argument in arguments]


@st.composite
def scenes(draw):
    """A picture with one to three masks: noise, boxes, single pixels, nothing and everything, also overlapping."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    image = random.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype, endpoint=True)
    masks = []
    for kind in draw(st.lists(st.sampled_from(["noise", "box", "pixel", "none", "all"]), min_size=1, max_size=3)):
        mask = np.full((height, width), kind == "all")
        if kind == "noise":
            mask = random.random((height, width)) < random.random()
        elif kind in ("box", "pixel"):
            top, left = random.integers(height), random.integers(width)
            rows, columns = random.integers(1, 20, 2) if kind == "box" else (1, 1)
            mask[top : top + rows, left : left + columns] = True
        masks.append(mask)
    return image, object_masks(*masks)


def check(effect, image, masks, *, background):
    before = image.copy()
    out = effect.apply(image, masks)
    region = masks.union() ^ background
    assert out.dtype == image.dtype
    assert out.shape == image.shape
    assert np.array_equal(image, before), "the input was changed"
    assert np.array_equal(out[~region], image[~region]), "a pixel outside the region was changed"
    assert not np.shares_memory(out, image)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(scene=scenes())
def test_pixels_outside_the_region_are_bit_identical(name, scene):
    check(parse_effect(name), *scene, background="background" in name or name == "cutout")


@settings(max_examples=25, deadline=None)
@given(scene=scenes(), other=scenes())
def test_replace_background_shows_the_object_bit_identical(scene, other):
    check(Effect(Replace(other[0]), background_region), *scene, background=True)


@settings(max_examples=50, deadline=None)
@given(scene=scenes())
def test_alpha_and_matte_agree(scene):
    image, masks = scene
    rgba = straight_alpha(image, masks)
    assert np.array_equal(rgba[..., :3], image)
    assert np.array_equal(rgba[..., 3] > 0, matte(masks) == 255)


@settings(max_examples=50, deadline=None)
@given(scene=scenes(), strength=st.sampled_from([3, 8, 20]), kind=st.sampled_from(["blur", "pixelate"]))
def test_hidden_pixels_stay_within_the_range_of_the_picture(scene, strength, kind):
    """A mean never leaves the range of what it is taken from."""
    image, masks = scene
    out = parse_effect(f"{kind}:{strength}").apply(image, masks)
    assert (out.max(axis=(0, 1)) <= image.max(axis=(0, 1)).astype(int) + 12).all()
    assert (out.min(axis=(0, 1)).astype(int) + 12 >= image.min(axis=(0, 1))).all()


def test_every_effect_is_tested():
    assert set(ARGUMENTS) | {"replace-background"} == set(EFFECTS)
