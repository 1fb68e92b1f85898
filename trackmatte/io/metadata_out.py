"""Timecode, reel, title, time of creation and chapters, written into a video."""

from __future__ import annotations

from fractions import Fraction

from av.container import OutputContainer

from trackmatte.io.timecode import advanced
from trackmatte.types import ClipInfo, Frame

_TICKS = 1000  # a second, of chapters
_DEFAULT_RATE = Fraction(25)


def write_tags(output: OutputContainer, clip: ClipInfo, first: Frame) -> list[str]:
    """Gives an output the clip's tags; its header must not be written yet.

    Args:
        output: the container, with its video stream.
        clip: whose tags they are.
        first: the first frame that is written, to which the timecode is counted on.

    Returns:
        What the container can't hold, in words.
    """
    metadata, container = clip.metadata, output.format.name
    stream, left_out = output.streams.video[0], []
    for key, value in (("creation_time", metadata.created), ("title", metadata.title)):
        if value is not None:
            output.metadata[key] = value
    timecode = None
    if metadata.timecode is not None:
        rate = clip.rate or _DEFAULT_RATE
        later = round((first.pts_seconds - clip.start_seconds) * rate)
        timecode = advanced(metadata.timecode, later, rate)
        if timecode is None:
            left_out.append(f"the timecode {metadata.timecode}")
        else:
            stream.metadata["timecode"] = timecode
    if metadata.reel is not None:
        stream.metadata["reel_name"] = metadata.reel
        if container == "mp4" or (container == "mov" and timecode is None):  # .mov keeps it with the timecode
            left_out.append(f"the reel name {metadata.reel}")
    return left_out


def write_chapters(output: OutputContainer, clip: ClipInfo, *, origin: Fraction, end: Fraction | None) -> None:
    """Gives an output the clip's chapters, as far as they lie in it; containers take them as late as at the end.

    Args:
        output: the container.
        clip: whose chapters they are.
        origin: the time in the clip that became zero.
        end: where the output ends; None where it has all of the clip.
    """
    chapters = []
    for chapter in clip.metadata.chapters:
        first = max(Fraction(0), chapter.start_seconds - origin)
        last = chapter.end_seconds - origin if end is None else min(end, chapter.end_seconds - origin)
        if first < last:
            chapters.append((round(first * _TICKS), round(last * _TICKS), chapter.title))
    output.set_chapters(
        [
            {
                "id": number,
                "start": start,
                "end": stop,
                "time_base": Fraction(1, _TICKS),
                "metadata": {"title": title},
            }
            for number, (start, stop, title) in enumerate(chapters)
        ]
    )
