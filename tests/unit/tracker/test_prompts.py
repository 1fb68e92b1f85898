import numpy as np
import pytest

from trackmatte.errors import PromptError
from trackmatte.tracker.prompts import gather
from trackmatte.types import Box, Mask, Point

H, W = 60, 80
NAN = float("nan")


def test_a_box_comes_before_the_clicks():
    joined = gather([Point(5, 6), Box(1, 2, 30, 40), Point(7, 8, False)], height=H, width=W)["1"]
    assert joined.coordinates.tolist() == [[1, 2], [30, 40], [5, 6], [7, 8]]
    assert joined.coordinates.dtype == np.float32
    assert joined.labels == (2, 3, 1, 0)
    assert joined.mask is None


def test_objects_keep_the_order_of_their_first_mention():
    joined = gather([Point(1, 1, name="b"), Point(2, 2, name="a"), Point(3, 3, name="b")], height=H, width=W)
    assert list(joined) == ["b", "a"]
    assert len(joined["b"].labels) == 2


def test_a_mask_comes_alone():
    mask = np.zeros((H, W), bool)
    mask[3, 4] = True
    assert gather([Mask(mask)], height=H, width=W)["1"].mask is mask


def test_a_box_is_clamped_to_the_picture():
    joined = gather([Box(-5, 10, 1000, H + 0.5)], height=H, width=W)["1"]
    assert joined.coordinates.tolist() == [[0, 10], [W, H]]


@pytest.mark.parametrize(("click", "place"), [((W, 5), (W - 0.5, 5)), ((5, H), (5, H - 0.5))])
def test_a_click_on_the_far_edge_is_one_on_the_last_pixel(click, place):
    joined = gather([Point(*click)], height=H, width=W)["1"]
    assert joined.coordinates.tolist() == [list(place)]


@pytest.mark.parametrize("prompt", [Point(0, 0), Point(W - 0.01, H - 0.01), Box(0, 0, W, H)])
def test_the_border_is_inside(prompt):
    assert gather([prompt], height=H, width=W)


def test_negative_clicks_correct_an_object_that_is_there():
    assert gather([Point(5, 5, False)], height=H, width=W, seeded={"1"})["1"].labels == (0,)


FULL = np.ones((H, W), bool)
BAD = {
    "right of the picture": ([Point(W + 0.01, 5)], "outside the picture"),
    "above the picture": ([Point(5, -1)], "outside the picture"),
    "no number": ([Point(NAN, 5)], "outside the picture"),
    "endless": ([Box(0, 0, float("inf"), 9)], "outside the picture"),
    "a box beside the picture": ([Box(W, 1, W + 9, 9)], "outside the picture"),
    "a box above the picture": ([Box(1, -9, 9, 0)], "outside the picture"),
    "control characters": ([Point(5, 5, name="\x1b[31m1'1'")], "control characters"),
    "half a character": ([Point(5, 5, name="\udc80'1'")], "no valid text"),
    "a long name": ([Point(5, 5, name="'1'" + "n" * 200)], "200 bytes"),
    "a box of NaN": ([Box(NAN, 0, 9, 9)], "outside the picture"),
    "a box without width": ([Box(5, 1, 5, 9)], "no area"),
    "a box upside down": ([Box(1, 9, 5, 2)], "no area"),
    "an empty mask": ([Mask(~FULL)], "empty"),
    "a mask of another size": ([Mask(FULL[:-1])], f"{W}x{H - 1} pixels, the picture {W}x{H}"),
    "a mask of rgb": ([Mask(np.ones((H, W, 3), bool))], "pixels, the picture"),
    "a grey mask": ([Mask(FULL.astype(np.uint8))], "bool"),
    "only negative clicks": ([Point(5, 5, False)], "only negative"),
    "two boxes": ([Box(0, 0, 5, 5), Box(6, 6, 9, 9)], "2 boxes"),
    "two masks": ([Mask(FULL), Mask(FULL)], "2 masks"),
    "a mask and a click": ([Mask(FULL), Point(5, 5)], "one or the other"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_prompts_are_refused_in_one_line(case):
    prompts, says = BAD[case]
    with pytest.raises(PromptError, match=says) as caught:
        gather(prompts, height=H, width=W)
    assert "\n" not in str(caught.value)
    assert "'1'" in str(caught.value)
