"""Which encoder writes which kind of picture into which container.

| kind    | .mp4, .mov, .mkv                                  | .webm                                |
|---------|---------------------------------------------------|--------------------------------------|
| `color` | H.264; more than 8 bits: H.265 in 10 bits         | VP9; more than 8 bits: 10-bit VP9 or AV1 |
| `matte` | H.264                                             | VP9                                  |
| `alpha` | .mov ProRes 4444; .mkv FFV1, lossless; not in .mp4 | VP9 with an alpha plane, 8 bits      |

H.264 and H.265 are 4:2:0, which can't hold an odd number of columns or rows; such pictures are written as 4:4:4 of
the same size (players built on FFmpeg open it, QuickTime doesn't). VP9 takes any size.

There are no B-frames: decoding order is then presentation order, so that a sample's duration in .mp4 and .mov is its
frame's own at a variable rate too, and editors need no edit list to find the first frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av

from trackmatte.errors import OutputError, UsageError
from trackmatte.io import hdr
from trackmatte.types import Metadata

VideoKind = Literal["color", "matte", "alpha"]

VIDEO_SUFFIXES: dict[VideoKind, tuple[str, ...]] = {
    "color": (".mp4", ".mov", ".mkv", ".webm"),
    "matte": (".mp4", ".mov", ".mkv", ".webm"),
    "alpha": (".mov", ".webm", ".mkv"),
}
_NONE = Metadata()
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_LARGER = {
    "color": "use .webm (VP9), or a smaller clip",
    "matte": "use .webm (VP9) or a folder (PNG)",
    "alpha": "use .mkv (FFV1) or a folder (PNG)",
}
_CRF = {"color": 12, "matte": 4, "alpha": 12}
# A fixed quantiser (3, times FFmpeg's 118) is four times as fast as the search for a size, and near 50 dB.
_PRORES_QUALITY = {"flags": "+qscale", "global_quality": str(3 * 118)}
_LEAST_SIDE = {"libx265": 16, "libsvtav1": 4}  # pixels; other encoders take any
_MOST = {  # columns and rows
    "libx264": (16384, 16384),
    "libx265": (16384, 16384),
    "libsvtav1": (16384, 8704),
    "libvpx-vp9": (65535, 65535),
    "prores_ks": (65535, 65535),
}


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """How pictures become a video stream.

    Attributes:
        kind: `color` (H, W, 3), `matte` (H, W) or `alpha` (H, W, 4).
        container: FFmpeg's name of the container format.
        codec: FFmpeg's name of the encoder.
        pixel_format: what the encoder gets.
        tag: the stream's four-character code where the encoder's default won't do.
        options: the encoder's own options.
        hdr10: whether the clip's HDR10 metadata are among them.
    """

    kind: VideoKind
    container: str
    codec: str
    pixel_format: str
    tag: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    hdr10: bool = False

    @property
    def rgb(self) -> bool:
        """Whether the stream holds RGB rather than YUV."""
        return self.codec == "ffv1"


def check_suffix(path: Path, kind: VideoKind) -> str:
    """The suffix of a video of this kind, lower case.

    Raises:
        UsageError: the container can't carry it.
    """
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES[kind]:
        what = {"color": "video", "matte": "a matte", "alpha": "alpha"}[kind]
        detail = {
            "alpha": ".mov (ProRes 4444), .webm (VP9), .mkv (FFV1, lossless) or a folder (PNG)",
            "matte": "one of .mp4 .mov .mkv .webm, or a folder (PNG)",
            "color": "one of .mp4 .mov .mkv .webm",
        }[kind]
        raise UsageError(f"{path}: {path.suffix or 'a name without extension'} can't carry {what}; use {detail}")
    return suffix


def choose_spec(
    path: Path, *, kind: VideoKind, width: int, height: int, deep: bool, metadata: Metadata = _NONE
) -> VideoSpec:
    """The encoder for pictures of this kind and size in the container that the suffix names.

    Args:
        path: the output; only its suffix counts.
        kind: what the pictures are.
        width: their columns.
        height: their rows.
        deep: whether they have more than 8 bits.
        metadata: the clip's, whose HDR10 part goes to encoders of deep colour.

    Raises:
        UsageError: the container can't carry this kind, or its encoders no pictures of this size.
        OutputError: this build of FFmpeg lacks the encoder.
    """
    suffix = check_suffix(path, kind)
    container = _CONTAINERS[suffix]
    candidates = _candidates(suffix, kind, odd=bool(width % 2 or height % 2), deep=deep)
    fitting = [one for one in candidates if _fits(one[0], width, height)]
    if not fitting:
        columns, rows = max(_MOST[codec] for codec, _ in candidates)
        raise UsageError(
            f"{path}: pictures of {width}x{height} are more than {suffix} holds here ({columns}x{rows}); "
            f"{_LARGER[kind]}"
        )
    codec, pixel_format = _first_available(fitting)
    options = _encoder_options(codec, kind)
    extra = hdr.encoder_options(codec, metadata) if kind == "color" and pixel_format.endswith("10le") else {}
    for name, value in extra.items():
        options[name] = ":".join(filter(None, [options.get(name), value]))
    return VideoSpec(
        kind=kind,
        container=container,
        codec=codec,
        pixel_format=pixel_format,
        tag="hvc1" if codec == "libx265" and container in ("mp4", "mov") else None,
        options=options,
        hdr10=bool(extra),
    )


def _candidates(suffix: str, kind: VideoKind, *, odd: bool, deep: bool) -> list[tuple[str, str]]:
    """Encoders and their pixel formats, the preferred first."""
    if kind == "alpha":
        return {
            ".mov": [("prores_ks", "yuva444p10le")],
            ".webm": [("libvpx-vp9", "yuva420p")],
            ".mkv": [("ffv1", "rgba64le" if deep else "bgra")],
        }[suffix]
    deep = deep and kind == "color"
    if suffix == ".webm":
        vp9 = [("libvpx-vp9", "yuv420p")]
        return [("libvpx-vp9", "yuv420p10le"), ("libsvtav1", "yuv420p10le"), *vp9] if deep else vp9
    layout = "yuv444p" if odd else "yuv420p"
    return [("libx265", layout + "10le"), ("libx264", layout + "10le")] if deep else [("libx264", layout)]


def _fits(codec: str, width: int, height: int) -> bool:
    """Whether an encoder takes pictures of this size."""
    most = _MOST.get(codec, (width, height))
    return min(width, height) >= _LEAST_SIDE.get(codec, 1) and width <= most[0] and height <= most[1]


def _first_available(candidates: list[tuple[str, str]]) -> tuple[str, str]:
    """The first encoder that this build of FFmpeg has with that pixel format."""
    for codec, pixel_format in candidates:
        try:
            formats = av.codec.Codec(codec, "w").video_formats or []
        except ValueError:  # PyAV says so where the build has no such codec
            continue
        if any(known.name == pixel_format for known in formats):
            return codec, pixel_format
    raise OutputError(f"FFmpeg's encoder {candidates[0][0]} is missing here; install the av package from its wheel")


def _encoder_options(codec: str, kind: VideoKind) -> dict[str, str]:
    """Visually lossless at a speed that keeps up with tracking."""
    crf = str(_CRF[kind])
    return {
        "libx264": {"crf": crf, "preset": "veryfast", "bf": "0", "chromaoffset": "-4"},
        "libx265": {"crf": crf, "preset": "superfast", "x265-params": "log-level=error:bframes=0"},
        "libvpx-vp9": {"crf": crf, "b": "0", "deadline": "realtime", "cpu-used": "5", "row-mt": "1"},
        "libsvtav1": {"crf": crf, "preset": "9"},
        "prores_ks": {"profile": "4444", "vendor": "apl0", "alpha_bits": "16", **_PRORES_QUALITY},
        "ffv1": {
            "level": "3",
            "coder": "1",
            "context": "0",
            "g": "1",
            "slicecrc": "1",
        },
    }[codec]
