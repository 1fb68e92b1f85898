"""When prompts fall due, and ranges."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from trackmatte.errors import PromptError, UsageError
from trackmatte.schedule import (
    Schedule,
    check_frame,
    check_times,
    cut,
    expected_frames,
    falls_on,
    find_frame,
    object_names,
)
from trackmatte.types import ClipInfo, Frame, Point, Range, Time

CLIP = ClipInfo(
    path="a.mp4", width=6, height=4, coded_width=6, coded_height=4, rate=Fraction(25), frames=100,
    duration_seconds=Fraction(4),
)  # fmt: skip


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
    with pytest.raises(PromptError, match="'ball' at frame 6 lies after the end: the last frame that is tracked is 5"):
        schedule.finish()


def test_seconds_before_the_start_are_refused_rather_than_moved():
    first = frames(6)[3]  # at 0.3 s
    assert Schedule([Point(1, 0, seconds=Fraction(25, 100))]).due(first)
    with pytest.raises(PromptError, match=r"at 0.2s lies before frame 3 \(0.300 s\)"):
        Schedule([Point(1, 0, seconds=Fraction(2, 10))]).due(first)
    assert Schedule([Point(1, 0, seconds=Fraction(0))]).due(frames(6, start=7)[0])


def test_a_range_without_a_frame_is_refused():
    with pytest.raises(UsageError, match="no frame of the clip lies between start and end"):
        Schedule([Point(1, 0)]).finish()


def test_a_prompt_far_after_the_end_is_refused_before_tracking():
    check_times([Point(1, 0, frame=105), Point(1, 0, seconds=Fraction(42, 10))], CLIP)
    with pytest.raises(PromptError, match="frame 500"):
        check_times([Point(1, 0, frame=500)], CLIP)
    with pytest.raises(PromptError, match=r"9s"):
        check_times([Point(1, 0, seconds=Fraction(9))], CLIP)
    with pytest.raises(UsageError, match=r"the start \(frame 500\) lies after the end: the clip ends after 100 frames"):
        check_times([Point(1, 0)], CLIP, Range(start=Time(frame=500)))


@pytest.mark.parametrize(
    ("prompt", "span", "words"),
    [
        (Point(1, 0, frame=4), Range(start=Time(frame=5)), r"before the start \(frame 5\)"),
        (Point(1, 0, seconds=Fraction(1)), Range(start=Time(seconds=Fraction(2))), r"before the start \(2s\)"),
        (Point(1, 0, frame=8), Range(end=Time(frame=8)), r"after the end: tracking stops at the end \(frame 8\)"),
        (Point(1, 0, seconds=Fraction(3)), Range(end=Time(seconds=Fraction(2))), r"tracking stops at the end \(2s\)"),
    ],
)
def test_prompts_outside_the_range_are_refused_before_tracking(prompt, span, words):
    with pytest.raises(PromptError, match=words):
        check_times([prompt], CLIP, span)


def test_prompts_inside_the_range_are_taken():
    prompts = [Point(1, 0), Point(1, 0, frame=5), Point(1, 0, frame=7), Point(1, 0, seconds=Fraction(1))]
    check_times(prompts, CLIP, Range(start=Time(frame=5), end=Time(frame=8)))


def test_seconds_from_the_beginning_of_a_recording_that_starts_late_are_refused():
    recording = replace(CLIP, start_seconds=Fraction(115))
    with pytest.raises(PromptError, match=r"at 1.5s lies before the clip, whose own times begin at 115.000 s"):
        check_times([Point(1, 0, seconds=Fraction(3, 2))], recording)
    with pytest.raises(PromptError, match="the start 2s lies before the clip"):
        check_times([Point(1, 0)], recording, Range(start=Time(seconds=Fraction(2))))
    check_times([Point(1, 0, seconds=Fraction(116))], recording)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Range(), 100),
        (Range(start=Time(frame=20), end=Time(frame=50)), 30),
        (Range(start=Time(seconds=Fraction(1)), end=Time(seconds=Fraction(2))), 25),
        (Range(end=Time(frame=500)), 100),
        (Range(start=Time(frame=120)), 0),
    ],
)
def test_how_many_frames_a_range_holds(span, expected):
    assert expected_frames(CLIP, span) == expected
    assert expected_frames(replace(CLIP, frames=None), span) is None


def test_no_prompt_is_refused():
    with pytest.raises(PromptError, match="a point, a box or a mask"):
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


@pytest.mark.parametrize(
    ("time", "index"),
    [(Time(frame=0), 0), (Time(frame=3), 3), (Time(seconds=0.6), 1), (Time(seconds=0.65), 2), (Time(seconds=0), 0)],
)
def test_one_frame_is_found(time, index):
    frame, before = find_frame(frames(6, start=5), time)
    assert frame.index == index
    assert (before.index if before else None) == (index - 1 if index else None)


def test_a_frame_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"frame 6 lies after the end: the clip's last is frame 5 at 0\.500 s"):
        find_frame(frames(6), Time(frame=6))
    with pytest.raises(UsageError, match=r"1s lies after the end"):
        find_frame(frames(6), Time(seconds=1))
    with pytest.raises(UsageError, match="it has no frame"):
        find_frame([], Time(frame=0))
    check_frame(Time(frame=100), CLIP)
    with pytest.raises(UsageError, match="frame 200 lies after the end: the clip ends after 100 frames"):
        check_frame(Time(frame=200), CLIP)
    with pytest.raises(UsageError, match="add that"):
        check_frame(Time(seconds=3), replace(CLIP, start_seconds=Fraction(80001)))


def test_prompts_of_one_frame():
    before, frame = frames(6)[2:4]  # 0.2 and 0.3 s
    prompts = [Point(0, 0), Point(1, 0, frame=3), Point(2, 0, frame=2), Point(3, 0, seconds=0.25)]
    prompts += [Point(4, 0, seconds=0.2), Point(5, 0, seconds=0.3), Point(6, 0, seconds=0.31)]
    assert [prompt.x for prompt in prompts if falls_on(prompt, frame, before)] == [0, 1, 3, 5]
    assert falls_on(Point(1, 0, seconds=0.1), frames(6, start=5)[0], None)
