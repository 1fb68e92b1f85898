"""When prompts fall due, and ranges."""

from fractions import Fraction

import numpy as np
import pytest

from trackmatte.errors import PromptError, UsageError
from trackmatte.schedule import Schedule, check_times, cut, object_names
from trackmatte.types import ClipInfo, Frame, Point, Range, Time


def frames(count, *, rate=10, start=0):
    image = np.zeros((4, 6, 3), np.uint8)
    return [Frame(index=i, pts=i + start, time_base=Fraction(1, rate), image=image) for i in range(count)]


def due_indices(prompts, clip):
    schedule = Schedule(prompts)
    return [(frame.index, prompt.x) for frame in clip for prompt in schedule.due(frame)]


def test_prompts_fall_on_their_frames_once():
    prompts = [Point(1, 0), Point(2, 0, frame=3), Point(3, 0, seconds=Fraction(1, 4)), Point(4, 0, frame=3)]
    assert due_indices(prompts, frames(6)) == [(0, 1), (3, 2), (3, 3), (3, 4)]


def test_seconds_count_from_the_clips_own_times():
    assert due_indices([Point(1, 0, seconds=Fraction(7, 10))], frames(6, start=5)) == [(2, 1)]


def test_the_first_tracked_frame_is_the_default():
    assert due_indices([Point(1, 0)], frames(6)[3:]) == [(3, 1)]


def test_a_prompt_before_the_start_is_refused():
    with pytest.raises(PromptError, match="frame 2 lies before frame 3"):
        Schedule([Point(1, 0, frame=2)]).due(frames(6)[3])


def test_a_prompt_after_the_end_is_refused():
    schedule = Schedule([Point(1, 0, name="ball", frame=6)])
    for frame in frames(6):
        assert not schedule.due(frame)
    with pytest.raises(PromptError, match="'ball' at frame 6 lies after the end: the clip ends after 6 frames"):
        schedule.finish(6)


def test_a_prompt_far_after_the_end_is_refused_before_tracking():
    clip = ClipInfo(
        path="a.mp4", width=6, height=4, coded_width=6, coded_height=4, frames=100, duration_seconds=Fraction(4)
    )
    check_times([Point(1, 0, frame=105), Point(1, 0, seconds=Fraction(42, 10))], clip)
    with pytest.raises(PromptError, match="frame 500"):
        check_times([Point(1, 0, frame=500)], clip)
    with pytest.raises(PromptError, match=r"9s"):
        check_times([Point(1, 0, seconds=Fraction(9))], clip)


def test_no_prompt_is_refused():
    with pytest.raises(PromptError, match="--point"):
        Schedule([])


def test_names_keep_the_order_of_their_first_mention():
    assert object_names([Point(1, 1, name="b"), Point(1, 1, name="a"), Point(1, 1, name="b")]) == ("b", "a")


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Range(), [0, 1, 2, 3, 4, 5]),
        (Range(start=Time(frame=2)), [2, 3, 4, 5]),
        (Range(end=Time(frame=2)), [0, 1]),
        (Range(start=Time(seconds=Fraction(15, 100)), end=Time(seconds=Fraction(4, 10))), [2, 3]),
        (Range(start=Time(frame=1), end=Time(seconds=Fraction(3, 10))), [1, 2]),
    ],
)
def test_ranges(span, expected):
    assert [frame.index for frame in cut(iter(frames(6)), span)] == expected


def test_an_end_before_the_start_is_refused():
    with pytest.raises(UsageError, match="not after"):
        Range(start=Time(frame=5), end=Time(frame=5))
