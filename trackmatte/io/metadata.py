"""What a file holds beside pictures and sound: read from its header and its first frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from trackmatte.io.hdr import content_light, mastering_display
from trackmatte.types import Chapter, Metadata, SubtitleInfo

_UNCARRIED = {
    # names of PyAV's frame side data
    "A53_CC": "closed captions",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "SPHERICAL": "the spherical projection",
    "STEREO3D": "the stereoscopic layout",
    "ICC_PROFILE": "the ICC profile",
}
_CHAPTER_TITLES = ("text", "subtitle")  # in the handler names of QuickTime's chapter tracks


def read_metadata(container: InputContainer, stream: VideoStream, frame: VideoFrame) -> Metadata:
    """Reads it from an open file.

    Args:
        container: the file.
        stream: the video stream that is read.
        frame: its first frame.
    """
    side_data = _side_data(frame)
    data = [other for other in container.streams if other.type == "data"]
    places = [stream.metadata, container.metadata, *(other.metadata for other in data)]
    display, light = side_data.get("MASTERING_DISPLAY_METADATA"), side_data.get("CONTENT_LIGHT_LEVEL")
    return Metadata(
        timecode=_find(places, "timecode"),
        reel=_find(places, "reel_name"),
        created=_find([container.metadata], "creation_time", "com.apple.quicktime.creationdate"),
        title=_find([container.metadata], "title"),
        chapters=tuple(_chapters(container)),
        subtitles=tuple(
            SubtitleInfo(
                stream=other.index,
                codec="unknown" if other.codec_context is None else other.codec_context.codec.canonical_name,
                language=other.metadata.get("language"),
            )
            for other in container.streams.subtitles
        ),
        mastering_display=None if display is None else mastering_display(bytes(display)),
        content_light=None if light is None else content_light(bytes(light)),
        left_out=tuple(_left_out(container, data, side_data)),
    )


def _side_data(frame: VideoFrame) -> Mapping[str, Any]:
    try:
        items: Iterator[Any] = iter(frame.side_data)
        return {item.type.name: item for item in items}
    except ValueError:  # PyAV has no name for some of it, and hands out none then
        return {}


def _find(places: list[dict[str, str]], *keys: str) -> str | None:
    """The first value under one of the keys, in small letters or capitals (as in Matroska)."""
    for place in places:
        values = {key.lower(): value for key, value in place.items()}
        for key in keys:
            if value := values.get(key, "").strip():
                return value
    return None


def _chapters(container: InputContainer) -> Iterator[Chapter]:
    for chapter in container.chapters():
        base = chapter["time_base"]
        if base and chapter["end"] > chapter["start"]:
            title = chapter["metadata"].get("title", "")
            yield Chapter(Fraction(chapter["start"] * base), Fraction(chapter["end"] * base), title)


def _left_out(container: InputContainer, data: list[Any], side_data: Mapping[str, Any]) -> Iterator[str]:
    if any("location" in key.lower() for key in container.metadata):
        yield "the location"
    for stream in data:
        handler = stream.metadata.get("handler_name", "").strip(" \t\x0b")
        titles = container.chapters() and any(word in handler.lower() for word in _CHAPTER_TITLES)
        if "timecode" not in stream.metadata and not titles:
            yield f"data stream {stream.index}" + (f" ({handler})" if handler else "")
    for stream in container.streams:
        if stream.type == "attachment":
            yield f"attachment {stream.index}"
    yield from (words for kind, words in _UNCARRIED.items() if kind in side_data)
