"""Describes a clip with the system's ffprobe, for files that PyAV can't open."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from trackmatte.errors import InputError
from trackmatte.io.color import tags_from_codes
from trackmatte.io.colortags import MATRICES, PRIMARIES, RANGES, TRANSFERS
from trackmatte.io.convert import displayed_size, orientation
from trackmatte.io.opening import OPENING
from trackmatte.types import AudioInfo, ClipInfo, ColorTags


def probe_with_ffprobe(ffmpeg: Any, path: str) -> ClipInfo:
    """Describes a file by its headers; whether the rate varies is not determined.

    Args:
        ffmpeg: the module of ffmpeg-python.
        path: the file.

    Raises:
        InputError: ffprobe can't read it either, or it has no picture.
    """
    try:
        found = ffmpeg.probe(f"file:{path}", **OPENING)
    except ffmpeg.Error as error:
        lines = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        reason = lines[-1].rsplit(": ", 1)[-1] if lines else "no reason given"
        raise InputError(f"{path} is not a video that can be read ({reason}); give a video file") from error
    streams = [s for s in found["streams"] if s["codec_type"] == "video" and not s["disposition"]["attached_pic"]]
    if not streams or "pix_fmt" not in streams[0]:
        raise InputError(f"{path} has no video stream that ffmpeg can decode; give a file with a picture")
    return _describe(path, streams[0], found)


def _describe(path: str, stream: dict[str, Any], found: dict[str, Any]) -> ClipInfo:
    rotation, mirrored = _orientation(stream)
    aspect = _ratio(stream.get("sample_aspect_ratio", "1:1")) or Fraction(1)
    coded = (int(stream["width"]), int(stream["height"]))
    width, height = displayed_size(*coded, pixel_aspect=aspect, rotation=rotation)
    duration = stream.get("duration") or found["format"].get("duration")
    rate = _ratio(stream.get("avg_frame_rate", "")) or _ratio(stream.get("r_frame_rate", ""))
    frames = stream.get("nb_frames")
    return ClipInfo(
        path=path,
        width=width,
        height=height,
        coded_width=coded[0],
        coded_height=coded[1],
        rotation=rotation,
        mirrored=mirrored,
        pixel_aspect=aspect,
        rate=rate,
        time_base=_ratio(stream["time_base"]) or Fraction(1, 1000),
        start_seconds=Fraction(stream.get("start_time") or 0),
        duration_seconds=Fraction(duration) if duration else None,
        frames=int(frames) if frames else round(Fraction(duration) * rate) if duration and rate else None,
        codec=stream["codec_name"],
        pixel_format=stream["pix_fmt"],
        bit_depth=_bits(stream),
        interlaced=stream.get("field_order", "progressive") not in ("progressive", "unknown"),
        has_alpha=stream["pix_fmt"].startswith(("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya")),
        color=_color(stream),
        audio=tuple(
            AudioInfo(codec=s["codec_name"], sample_rate=int(s["sample_rate"]), channels=int(s["channels"]))
            for s in found["streams"]
            if s["codec_type"] == "audio" and "codec_name" in s
        ),
        container=found["format"]["format_name"],
        stream=int(stream["index"]),
    )


def _color(stream: dict[str, Any]) -> ColorTags:
    return tags_from_codes(
        primaries=PRIMARIES.get(stream.get("color_primaries", ""), 2),
        transfer=TRANSFERS.get(stream.get("color_transfer", ""), 2),
        matrix=MATRICES.get(stream.get("color_space", ""), 2),
        range=RANGES.get(stream.get("color_range", ""), 0),
        pixel_format=stream["pix_fmt"],
    )


def _orientation(stream: dict[str, Any]) -> tuple[int, bool]:
    """Of the display matrix, which ffprobe prints as three rows of an address and three numbers."""
    for data in stream.get("side_data_list", ()):
        rows = [row.split(":")[1].split() for row in data.get("displaymatrix", "").splitlines() if ":" in row]
        if len(rows) == 3:
            return orientation([int(number) for row in rows for number in row])
    return 0, False


def _bits(stream: dict[str, Any]) -> int:
    """The depth that the name of the pixel format ends in (`yuv420p10le`), else 8."""
    digits = stream["pix_fmt"].removesuffix("le").removesuffix("be").rsplit("p", 1)[-1]
    deep = {"9": 9, "10": 10, "12": 12, "14": 14, "16": 16, "gray10": 10, "gray12": 12, "gray14": 14, "gray16": 16}
    return 16 if stream["pix_fmt"].startswith(("rgb48", "rgba64", "bgr48", "bgra64", "ya16")) else deep.get(digits, 8)


def _ratio(text: str) -> Fraction | None:
    over, _, under = text.replace(":", "/").partition("/")
    return Fraction(int(over), int(under)) if over and under and int(over) and int(under) else None
