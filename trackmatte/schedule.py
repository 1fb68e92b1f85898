"""Which prompts fall on which frame of a streamed clip, and which part of it is tracked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from trackmatte.errors import PromptError, UsageError
from trackmatte.types import WHOLE, ClipInfo, Frame, Prompt, Range, Time


def cut(frames: Iterable[Frame], span: Range) -> Iterator[Frame]:
    """The frames inside `span`, in order; stops reading at its end."""
    for frame in frames:
        if span.end is not None and span.end.reached(frame):
            return
        if span.start is None or span.start.reached(frame):
            yield frame


def expected_frames(clip: ClipInfo, span: Range) -> int | None:
    """How many frames `span` holds, by the clip's header: an estimate where the rate varies, None where unknown."""
    if clip.frames is None:
        return None
    first = 0 if span.start is None else _index(span.start, clip)
    end = clip.frames if span.end is None else _index(span.end, clip)
    return None if first is None or end is None else max(0, min(end, clip.frames) - first)


def _index(time: Time, clip: ClipInfo) -> int | None:
    """The frame that `time` falls on at the clip's average rate; None where that is unknown."""
    if time.seconds is None:
        return time.frame
    return None if clip.rate is None else max(0, round((time.seconds - clip.start_seconds) * clip.rate))


def object_names(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """The objects that the prompts name, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(prompt.name for prompt in prompts))


def check_frame(time: Time, clip: ClipInfo) -> None:
    """Says, as far as the clip's header can be trusted, that a frame asked for is not there.

    Raises:
        UsageError: `time` lies more than a tenth of the clip after its end, or long before its own times begin.
    """
    _check_offset(time, clip, "--frame")
    if _beyond(time, clip):
        raise UsageError(f"{time} lies after the end: {_length(clip)}; give an earlier time")


def find_frame(clip: Iterable[Frame], time: Time) -> tuple[Frame, Frame | None]:
    """Reads on to the frame at `time`: that frame, and the one before it if there is one.

    Raises:
        UsageError: the clip ends before it.
    """
    before: Frame | None = None
    for frame in clip:
        if time.reached(frame):
            return frame, before
        before = frame
    last = "it has no frame" if before is None else f"frame {before.index} at {float(before.pts_seconds):.3f} s"
    raise UsageError(f"{time} lies after the end: the clip's last is {last}; give an earlier time")


def falls_on(prompt: Prompt, frame: Frame, before: Frame | None) -> bool:
    """Whether a prompt belongs to `frame`, which follows `before`; one without a time belongs to any."""
    if prompt.seconds is not None and before is not None and before.pts_seconds >= prompt.seconds:
        return False
    return _is_due(prompt, frame)


class Schedule:
    """Hands out each prompt at its frame, once."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        """Raises PromptError where there is no prompt at all."""
        if not prompts:
            raise PromptError("no prompt: name the object with a point, a box or a mask")
        self._waiting = list(prompts)
        self._last: int | None = None

    def due(self, frame: Frame) -> list[Prompt]:
        """The prompts that fall on `frame`.

        Raises:
            PromptError: a prompt's time lies before the first frame that is tracked.
        """
        if self._last is None:
            for prompt in self._waiting:
                _check_start(prompt, frame)
        self._last = frame.index
        due = [prompt for prompt in self._waiting if _is_due(prompt, frame)]
        self._waiting = [prompt for prompt in self._waiting if prompt not in due]
        return due

    @property
    def over(self) -> bool:
        """Whether all prompts were handed out."""
        return not self._waiting

    def finish(self) -> None:
        """Says so when prompts are left over at the end of what was tracked.

        Raises:
            UsageError: no frame was tracked. PromptError: a prompt lies after the last one.
        """
        if self._last is None:
            raise UsageError("no frame of the clip lies between start and end; trackmatte probe tells its length")
        if self._waiting:
            raise _too_late(self._waiting[0], f"the last frame that is tracked is {self._last}")


def _is_due(prompt: Prompt, frame: Frame) -> bool:
    if prompt.seconds is not None:
        return frame.pts_seconds >= prompt.seconds
    return prompt.frame is None or prompt.frame == frame.index


def _check_start(prompt: Prompt, first: Frame) -> None:
    """Raises PromptError where the prompt belongs to a frame before the first one that is tracked."""
    early = prompt.frame is not None and prompt.frame < first.index
    if prompt.seconds is not None and first.index > 0:
        early = prompt.seconds <= first.pts_seconds - (first.duration or 1) * first.time_base
    if early:
        raise PromptError(
            f"prompt for object {prompt.name!r} at {_at(prompt)} lies before frame {first.index} "
            f"({float(first.pts_seconds):.3f} s), the first that is tracked; move the prompt or the start"
        )


def check_times(prompts: Sequence[Prompt], clip: ClipInfo, span: Range = WHOLE) -> None:
    """Fails early where a time lies clearly outside the clip, as far as its header can be trusted, or outside `span`.

    Raises:
        UsageError: `span` starts after the clip's end.
        PromptError: there is no prompt, or one lies before or after what is tracked; after the clip's end by more than
            a tenth of its length.
    """
    Schedule(prompts)
    if span.start is not None and (span.start.frame or span.start.seconds):
        _check_offset(span.start, clip, "the start")
        if _beyond(span.start, clip):
            raise UsageError(f"the start ({span.start}) lies after the end: {_length(clip)}; give an earlier time")
    for prompt in prompts:
        time = _at(prompt)
        _check_offset(time, clip, f"prompt for object {prompt.name!r} at")
        if _beyond(time, clip):
            raise _too_late(prompt, _length(clip))
        if span.start is not None and _before(time, span.start):
            raise PromptError(
                f"prompt for object {prompt.name!r} at {time} lies before the start ({span.start}); move one of them"
            )
        if span.end is not None and (time == span.end or _before(span.end, time)):
            raise _too_late(prompt, f"tracking stops at the end ({span.end})")


def _at(prompt: Prompt) -> Time:
    return Time(prompt.frame, prompt.seconds)


def _before(one: Time, other: Time) -> bool:
    """Whether `one` is earlier; False where a frame can't be compared with seconds."""
    if one.seconds is not None and other.seconds is not None:
        return one.seconds < other.seconds
    return one.frame is not None and other.frame is not None and one.frame < other.frame


def _beyond(time: Time, clip: ClipInfo) -> bool:
    """Whether `time` lies more than a tenth of the clip after its end."""
    if time.seconds is not None:
        return bool(
            clip.duration_seconds and time.seconds - clip.start_seconds > clip.duration_seconds * Fraction(11, 10) + 1
        )
    return bool(clip.frames and time.frame is not None and time.frame > clip.frames * 1.1 + 10)


def _check_offset(time: Time, clip: ClipInfo, what: str) -> None:
    """Raises PromptError for seconds long before a clip that doesn't begin near 0, such as a broadcast recording."""
    if time.seconds and time.seconds < clip.start_seconds - 1:
        raise PromptError(
            f"{what} {time} lies before the clip, whose own times begin at {float(clip.start_seconds):.3f} s; "
            "add that, or give a frame index"
        )


def _length(clip: ClipInfo) -> str:
    return f"the clip ends after {clip.frames} frames" if clip.frames else "the clip is shorter"


def _too_late(prompt: Prompt, why: str) -> PromptError:
    return PromptError(
        f"prompt for object {prompt.name!r} at {_at(prompt)} lies after the end: {why}; give an earlier time"
    )
