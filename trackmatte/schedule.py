"""Which prompts fall on which frame of a streamed clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from trackmatte.errors import PromptError
from trackmatte.types import ClipInfo, Frame, Prompt, Range, Time


def cut(frames: Iterable[Frame], span: Range) -> Iterator[Frame]:
    """The frames inside `span`, in order; stops reading at its end."""
    for frame in frames:
        if span.end is not None and span.end.reached(frame):
            return
        if span.start is None or span.start.reached(frame):
            yield frame


def object_names(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """The objects that the prompts name, each once, in the order of their first mention."""
    return tuple(dict.fromkeys(prompt.name for prompt in prompts))


class Schedule:
    """Hands out each prompt at its frame, once."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        """Raises PromptError where there is no prompt at all."""
        if not prompts:
            raise PromptError("no prompt: name the object with --point, --box, --mask or --prompts")
        self._waiting = list(prompts)
        self._at_start = True

    def due(self, frame: Frame) -> list[Prompt]:
        """The prompts that fall on `frame`.

        Raises:
            PromptError: a prompt's frame lies before the first frame that is tracked.
        """
        due = [prompt for prompt in self._waiting if self._is_due(prompt, frame)]
        self._at_start = False
        self._waiting = [prompt for prompt in self._waiting if prompt not in due]
        return due

    def finish(self, frames: int) -> None:
        """Says so when prompts are left over at the clip's end.

        Raises:
            PromptError: a prompt lies after the last frame.
        """
        if self._waiting:
            raise _too_late(self._waiting[0], frames)

    def _is_due(self, prompt: Prompt, frame: Frame) -> bool:
        if prompt.seconds is not None:
            return frame.pts_seconds >= prompt.seconds
        if prompt.frame is None:
            return True
        if prompt.frame < frame.index:
            raise PromptError(
                f"prompt for object {prompt.name!r} at frame {prompt.frame} lies before frame {frame.index}, "
                "the first that is tracked; move the prompt or --start"
            )
        return prompt.frame == frame.index


def check_times(prompts: Sequence[Prompt], clip: ClipInfo) -> None:
    """Fails early where a prompt lies clearly after the clip's end, as far as its header can be trusted.

    Raises:
        PromptError: there is no prompt, or one is more than a tenth of the clip after its end.
    """
    Schedule(prompts)
    for prompt in prompts:
        if (clip.frames and prompt.frame is not None and prompt.frame > clip.frames * 1.1 + 10) or (
            clip.duration_seconds
            and prompt.seconds is not None
            and prompt.seconds - clip.start_seconds > clip.duration_seconds * Fraction(11, 10) + 1
        ):
            raise _too_late(prompt, clip.frames)


def _too_late(prompt: Prompt, frames: int | None) -> PromptError:
    at = Time(prompt.frame, prompt.seconds)
    length = f"the clip ends after {frames} frames" if frames else "the clip is shorter"
    return PromptError(f"prompt for object {prompt.name!r} at {at} lies after the end: {length}; give an earlier time")
