"""HDR10's static metadata: read from a frame's side data, handed to the encoders that write it."""

from __future__ import annotations

import struct
from fractions import Fraction

from trackmatte.types import ContentLight, MasteringDisplay, Metadata

_CHROMATICITY = 50_000  # units of ST 2086: x265 and x264 count in 0.00002 and 0.0001 cd/m2
_LUMINANCE = 10_000
_OPTIONS = {
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}


def mastering_display(data: bytes) -> MasteringDisplay | None:
    """Reads FFmpeg's AVMasteringDisplayMetadata: ten rationals and two flags; None where it is not complete."""
    numbers = struct.unpack("=22i", data[:88])
    if not all(numbers[20:]) or not all(numbers[1:20:2]):
        return None
    values = [Fraction(numbers[i], numbers[i + 1]) for i in range(0, 20, 2)]
    pairs = tuple(zip(values[0:8:2], values[1:8:2], strict=True))
    return MasteringDisplay(primaries=pairs[:3], white_point=pairs[3], luminance=(values[8], values[9]))


def content_light(data: bytes) -> ContentLight:
    """Reads FFmpeg's AVContentLightMetadata."""
    return ContentLight(*struct.unpack("=2I", data[:8]))


def encoder_options(codec: str, metadata: Metadata) -> dict[str, str]:
    """The option with which an encoder writes the clip's HDR10 metadata; empty where there is none, or no way."""
    if codec not in _OPTIONS:
        return {}
    option, display, light = _OPTIONS[codec]
    parts = []
    if metadata.mastering_display is not None:
        parts.append(f"{display}={_display(metadata.mastering_display, whole=codec != 'libsvtav1')}")
    if metadata.content_light is not None:
        parts.append(f"{light}={metadata.content_light.max_cll},{metadata.content_light.max_fall}")
    return {option: ":".join(parts)} if parts else {}


def _display(display: MasteringDisplay, *, whole: bool) -> str:
    """`G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)`, in whole units of ST 2086 or as they are."""

    def pair(one: Fraction, other: Fraction, unit: int) -> str:
        return ",".join(str(round(value * unit)) if whole else f"{float(value):.5f}" for value in (one, other))

    red, green, blue = (pair(*xy, _CHROMATICITY) for xy in display.primaries)
    least, greatest = display.luminance
    white, light = pair(*display.white_point, _CHROMATICITY), pair(greatest, least, _LUMINANCE)
    return f"G({green})B({blue})R({red})WP({white})L({light})"
