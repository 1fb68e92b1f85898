"""The public names."""

import trackmatte as tm


def test_all_is_sorted_and_every_name_is_there():
    assert tm.__all__ == sorted(tm.__all__)
    for name in tm.__all__:
        assert getattr(tm, name) is not None


def test_dir_shows_what_there_is():
    assert dir(tm) == tm.__all__


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(tm, "nothing_of_the_kind")
