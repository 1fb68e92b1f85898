"""DAVIS's palette."""

import pytest

from trackmatte.palette import color, davis_palette


def test_the_first_colours_are_those_of_davis():
    assert [color(index) for index in range(9)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
    ]
    assert color(255) == (224, 224, 192)


def test_all_256_differ_and_the_palette_holds_them_in_turn():
    palette = davis_palette()
    assert len(palette) == 768
    colors = [tuple(palette[3 * index : 3 * index + 3]) for index in range(256)]
    assert colors == [color(index) for index in range(256)]
    assert len(set(colors)) == 256


@pytest.mark.parametrize(("index", "same"), [(256, 1), (510, 255), (511, 1)])
def test_after_the_last_they_start_again_but_never_at_black(index, same):
    assert color(index) == color(same)
