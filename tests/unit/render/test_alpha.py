"""Mattes and straight alpha."""

import numpy as np
import pytest

from tests.unit.render.masks import box_mask, noise, object_masks
from trackmatte.render.alpha import matte, straight_alpha

FIRST, SECOND = box_mask(9, 13, 1, 1, 4, 5), box_mask(9, 13, 3, 4, 9, 13)


def test_matte_is_white_where_any_object_is():
    found = matte(object_masks(FIRST, SECOND))
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.where(FIRST | SECOND, 255, 0))


@pytest.mark.parametrize(("dtype", "opaque"), [(np.uint8, 255), (np.uint16, 65535)])
def test_straight_alpha_keeps_the_colour_everywhere(dtype, opaque):
    image = noise(9, 13, dtype)
    found = straight_alpha(image, object_masks(FIRST, SECOND))
    assert found.dtype == dtype
    assert np.array_equal(found[..., :3], image)
    assert np.array_equal(found[..., 3], np.where(FIRST | SECOND, opaque, 0))


def test_a_single_pixel():
    image = noise(1, 1)
    assert straight_alpha(image, object_masks([[True]])).tolist() == [[[*image[0, 0].tolist(), 255]]]
    assert matte(object_masks([[False]])).tolist() == [[0]]
