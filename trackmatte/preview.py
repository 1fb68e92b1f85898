"""The command `preview`: a frame with a ruler and, given seeds, the masks they make on it, without tracking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trackmatte.errors import PromptError
from trackmatte.io.decode import VideoReader
from trackmatte.io.images_out import PictureWriter
from trackmatte.render.preview import preview_picture
from trackmatte.reporting import Progress, print_preview, warn
from trackmatte.runs import ModelOptions, RunOptions
from trackmatte.schedule import check_frame, falls_on, find_frame
from trackmatte.tracker.prompts import check, gather
from trackmatte.types import Frame, ObjectMasks, Prompt, Time


def run_preview(
    clip: str, *, time: Time, prompts: Sequence[Prompt], output: Path, model: ModelOptions, options: RunOptions
) -> None:
    """Writes the picture of one frame; see `trackmatte preview --help`. Without prompts no model is loaded.

    Raises:
        TrackmatteError: of the kind that says what is wrong; no output is left behind.
    """
    with options.open(clip) as reader:
        check_frame(time, reader.info)
        for prompt in prompts:
            check(prompt, height=reader.info.height, width=reader.info.width)
        with PictureWriter(output, clip=reader.info, overwrite=options.overwrite) as writer:
            frame, here = _frame(reader, time, prompts)
            masks = seed_masks(frame, here, model) if here else None
            writer.write(preview_picture(frame.image8, here, masks))
    for note in writer.pending.notes:
        warn(note)
    print_preview(frame, masks, output)


def _frame(reader: VideoReader, time: Time, prompts: Sequence[Prompt]) -> tuple[Frame, list[Prompt]]:
    """The frame at `time` and the prompts that belong to it; the others are named. Raises UsageError."""
    with Progress(None if time.frame is None else time.frame + 1, shown=True) as progress:
        frame, before = find_frame(_counted(reader, progress), time)
    here = [prompt for prompt in prompts if falls_on(prompt, frame, before)]
    if prompts and not here:
        raise PromptError(
            f"no seed belongs to frame {frame.index} ({float(frame.pts_seconds):.3f} s); give seeds of that time, or "
            "without a time, or another --frame"
        )
    if left := [prompt for prompt in prompts if prompt not in here]:
        names = ", ".join(dict.fromkeys(repr(prompt.name) for prompt in left))
        warn(f"seeds of other times are left out, of object {names}")
    return frame, here


def _counted(frames: Iterable[Frame], progress: Progress) -> Iterator[Frame]:
    for frame in frames:
        progress.advance()
        yield frame


def seed_masks(frame: Frame, prompts: Sequence[Prompt], model: ModelOptions) -> ObjectMasks:
    """The masks that prompts make on a frame, as where tracking begins there.

    Args:
        frame: as displayed.
        prompts: whose own times are not looked at.
        model: which to load.

    Raises:
        PromptError: a prompt can't be used. ModelError: the model can't be loaded.
    """
    gather(prompts, height=frame.height, width=frame.width)  # what is wrong is said before a model is loaded
    from trackmatte.tracker.propagate import Propagator

    propagator = Propagator(model.load(), height=frame.height, width=frame.width)
    propagator.seed(prompts)
    return propagator.step(frame)
