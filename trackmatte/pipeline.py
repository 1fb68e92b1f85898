"""The way of a frame: read, track, render, write.

Reading runs ahead in a thread and every output renders and encodes in a thread of its own; the network runs on the
calling thread, the image encoder of a small one ahead of it in another. Bounded queues join them, so that memory does
not grow with the clip, and an error or an interrupt anywhere ends all of them and reaches the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from trackmatte.errors import UsageError
from trackmatte.io.atomic import commit_all
from trackmatte.io.decode import VideoReader
from trackmatte.io.prefetch import Worker, prefetch
from trackmatte.outputs import Output
from trackmatte.schedule import Schedule, check_times, cut, object_names
from trackmatte.tracker.prompts import check
from trackmatte.types import WHOLE, ClipInfo, Frame, ObjectMasks, Prompt, Range

Seeds = Literal["pinned", "memory", "ahead"]

if TYPE_CHECKING:
    from trackmatte.tracker.model import Model
    from trackmatte.tracker.network import ImageFeatures
    from trackmatte.tracker.propagate import Propagator

Tracked = tuple[Frame, ObjectMasks]


def check_prompts(prompts: Sequence[Prompt], clip: ClipInfo, span: Range = WHOLE) -> None:
    """Says before anything is loaded or read what is wrong with prompts, as far as the clip's header tells.

    Raises:
        PromptError: there is none, or one lies outside the picture or `span`, clearly after the end, or has no area.
        UsageError: `span` starts after the clip's end.
    """
    check_times(prompts, clip, span)
    for prompt in prompts:
        check(prompt, height=clip.height, width=clip.width)


def track_frames(
    clip: VideoReader, prompts: Sequence[Prompt], *, model: Model, span: Range = WHOLE, seeds: Seeds = "pinned"
) -> Generator[Tracked, None, None]:
    """Tracks the prompted objects through the clip, one frame in, one result out.

    Args:
        clip: the reader; frames are decoded ahead in a thread.
        prompts: clicks, boxes and masks; at a later frame they seed an object there, or correct it from there on.
        model: from `load_model`.
        span: the part of the clip to track.
        seeds: how a later prompt of an object is remembered: `pinned`, for good; `memory`, as any frame, soon
            forgotten; `ahead`, for good and before tracking begins, so that it changes what lies before it, too.

    Yields:
        Each frame of `span` with the masks of all objects, in presentation order.

    Raises:
        PromptError: a prompt can't be used. InputError: the clip can't be read to its end.
    """
    from trackmatte.kernels.threads import halved
    from trackmatte.tracker.propagate import PropagateOptions, Propagator

    model.check_process()
    check_prompts(prompts, clip.info, span)
    schedule = Schedule(prompts)
    options = PropagateOptions(seeds=seeds, conditioning=len(prompts) if seeds == "ahead" else None)
    propagator = Propagator(
        model, height=clip.info.height, width=clip.info.width, names=object_names(prompts), options=options
    )
    if seeds == "ahead":
        _pin(clip, prompts, span, propagator)
    with ExitStack() as stack:
        frames = stack.enter_context(prefetch(cut(clip, span)))
        seen = _look(frames, schedule, propagator)
        if model.looks_ahead:
            stack.enter_context(halved())
            seen = stack.enter_context(prefetch(seen, depth=1))
        for frame, due, image in seen:
            if due and seeds != "ahead":
                propagator.seed(due)
            yield frame, propagator.step(frame, image)
    schedule.finish()


def _pin(clip: VideoReader, prompts: Sequence[Prompt], span: Range, propagator: Propagator) -> None:
    """Reads the clip up to the last prompt, for the frames that have one."""
    schedule = Schedule(prompts)
    with prefetch(cut(clip, span)) as frames:
        for frame in frames:
            if due := schedule.due(frame):
                propagator.pin(frame, due)
            if schedule.over:
                break
    schedule.finish()


def _look(
    frames: Iterable[Frame], schedule: Schedule, propagator: Propagator
) -> Iterator[tuple[Frame, list[Prompt], ImageFeatures | None]]:
    """Each frame with the prompts that fall on it and, from the first of them on, what the network sees in it."""
    begun = False
    for frame in frames:
        due = schedule.due(frame)
        begun = begun or bool(due)
        yield frame, due, propagator.prepare(frame) if begun else None


def track(
    clip: VideoReader,
    prompts: Sequence[Prompt],
    *,
    model: Model,
    span: Range = WHOLE,
    seeds: Seeds = "pinned",
    frames: bool = False,
) -> Generator[ObjectMasks, None, None]:
    """Tracks the prompted objects through the clip: a result a frame, while the clip streams by.

    Args:
        clip: from `open_clip`.
        prompts: clicks, boxes and masks; at a later frame they seed an object there, or correct it from there on.
        model: from `load_model`.
        span: the part of the clip to track.
        seeds: how a later prompt of an object is remembered: `pinned`, for good; `memory`, as any frame, soon
            forgotten; `ahead`, for good and before tracking begins, so that it changes what lies before it, too.
        frames: whether each result holds its picture, in `frame`, with deep sources rounded to 8 bits.

    Yields:
        The masks of all objects in each frame of `span`, in presentation order.

    Raises:
        PromptError: a prompt can't be used. InputError: the clip can't be read to its end.
        UsageError: something else was given than a clip, a list of prompts and a model, or `seeds` is unknown.
    """
    _check_kinds(clip, prompts, model)
    if seeds not in ("pinned", "memory", "ahead"):
        raise UsageError(f"seeds={seeds!r} is unknown; give 'pinned', 'memory' or 'ahead'")
    for frame, masks in track_frames(clip, prompts, model=model, span=span, seeds=seeds):
        yield replace(masks, frame=frame.image8) if frames else masks


def _check_kinds(clip: object, prompts: object, model: object) -> None:
    """Raises UsageError where something else was given than a clip, a list of prompts and a model."""
    if isinstance(clip, (str, PurePath)):
        raise UsageError(f"a clip was expected, not the path {str(clip)!r}; give open_clip({str(clip)!r})")
    if isinstance(model, str):
        raise UsageError(f"a model was expected, not the name {model!r}; give load_model({model!r})")
    if not isinstance(prompts, Sequence) or isinstance(prompts, str):
        raise UsageError(f"a list of prompts was expected, not {type(prompts).__name__}; give [Point(x, y)]")
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise UsageError(f"{prompt!r} is no prompt; give Point, Box or Mask")


def write_outputs(
    results: Generator[Tracked, None, bool | None] | Iterable[Tracked],
    outputs: Sequence[Output],
    *,
    only: Sequence[str] = (),
    on_frame: Callable[[ObjectMasks], None] = lambda masks: None,
) -> bool:
    """Writes every output from one pass over `results`; all get their names at the end, or none does.

    Args:
        results: frames with their masks, in order; a generator may return that the clip goes on after them.
        outputs: where they go; whoever opened them aborts them after an error.
        only: names of the objects that the outputs show; none for all.
        on_frame: called on this thread after each frame, for progress and summary.

    Returns:
        Whether the clip goes on after the last frame.

    Raises:
        OutputError: an output can't be written. Whatever `results` raises.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(partial(_write, output))) for output in outputs]
        pairs = _Returning(results)
        for frame, masks in pairs:
            shown = masks.only(tuple(only)) if only else masks
            for worker in workers:
                worker.put((frame, shown))
            on_frame(masks)
        for worker in workers:
            worker.finish()
    for output in outputs:
        output.complete(cut=pairs.value)
    commit_all([output.pending for output in outputs])
    return pairs.value


class _Returning:
    """Iterates and keeps what a generator returns, as a bool, in `value`."""

    def __init__(self, items: Iterable[Tracked]) -> None:
        self.value = False
        self._items = items

    def __iter__(self) -> Iterator[Tracked]:
        iterator = iter(self._items)
        while True:
            try:
                yield next(iterator)
            except StopIteration as end:
                self.value = bool(end.value)
                return


def _write(output: Output, pair: Tracked) -> None:
    output.write(*pair)


def saved_frames(clip: VideoReader, tracks: Iterable[ObjectMasks]) -> Generator[Tracked, None, bool]:
    """Joins a clip's frames with masks that were saved before, for rendering again with no model.

    Frames before the first saved one are passed over, and reading ends with the last.

    Returns:
        Whether the clip goes on after the last saved frame.

    Raises:
        UsageError: the tracks belong to another clip: other times, another size, or more frames.
    """
    saved = iter(tracks)
    masks = next(saved, None)
    with prefetch(clip) as frames:
        for frame in frames:
            if masks is None:
                return True
            if frame.index < masks.index:
                continue
            _check_same_clip(frame, masks)
            yield frame, masks
            masks = next(saved, None)
    if masks is not None:
        raise UsageError(
            f"the tracks go on at frame {masks.index}, after the clip's end; give the clip they were made from"
        )
    return False


def check_size(clip: ClipInfo, *, width: int, height: int) -> None:
    """Says before any mask is decoded that saved tracks are of another size than the clip. Raises UsageError."""
    if (width, height) != (clip.width, clip.height):
        raise UsageError(
            f"the tracks belong to another clip: they are {width}x{height}, the clip is {clip.width}x{clip.height}; "
            "give the clip that they were made from"
        )


def _check_same_clip(frame: Frame, masks: ObjectMasks) -> None:
    size = masks.masks.shape[1:]
    if frame.index != masks.index or frame.pts_seconds != masks.pts_seconds or size != frame.image.shape[:2]:
        raise UsageError(
            f"the tracks belong to another clip: they have frame {masks.index} at {float(masks.pts_seconds):.3f} s of "
            f"{size[1]}x{size[0]}, the clip has frame {frame.index} at {float(frame.pts_seconds):.3f} s of "
            f"{frame.width}x{frame.height}; give the clip that they were made from"
        )
