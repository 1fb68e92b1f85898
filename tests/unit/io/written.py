"""Helpers for tests of writers: a clip as data, frames to write, and what a written file holds, read back with av."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from tests.assets.make_assets import picture
from trackmatte.io.color import SCALE_FLAGS
from trackmatte.io.colortags import MATRICES, PRIMARIES, RANGES, TRANSFERS, swscale_matrix
from trackmatte.types import AudioInfo, ClipInfo, ColorTags, Frame, ObjectMasks


def clip_info(path: Path | str = "clip.mp4", *, size: tuple[int, int] = (96, 64), **changes: Any) -> ClipInfo:
    """A clip's description; the file need not exist."""
    width, height = size
    info = ClipInfo(
        path=str(path), width=width, height=height, coded_width=width, coded_height=height, rate=Fraction(25)
    )
    return replace(info, **changes)


def frames(
    count: int = 12,
    *,
    size: tuple[int, int] = (96, 64),
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    deep: bool = False,
) -> list[Frame]:
    """Frames with the numbered test picture; `times` defaults to 25 frames a second from zero."""
    full, dtype = (65535, np.uint16) if deep else (255, np.uint8)
    ticks = list(times) if times is not None else [round(i / 25 / time_base) for i in range(count)]
    return [
        Frame(index=i, pts=tick, time_base=time_base, image=np.round(picture(i, size) * full).astype(dtype))
        for i, tick in enumerate(ticks)
    ]


def disc(index: int, size: tuple[int, int] = (96, 64)) -> npt.NDArray[np.bool_]:
    """(H, W) bool: a disc that moves right by two pixels a frame."""
    width, height = size
    y, x = np.mgrid[:height, :width] + 0.5
    found: npt.NDArray[np.bool_] = (x - width / 3 - 2 * index) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
    return found


def object_masks(
    index: int, masks: npt.NDArray[np.bool_], *, names: Sequence[str] | None = None, **changes: Any
) -> ObjectMasks:
    """Masks (O, H, W) as the tracker gives them."""
    count = masks.shape[0]
    value = ObjectMasks(
        index=index,
        pts=512 * index,
        time_base=Fraction(1, 12800),
        names=tuple(names or [str(i + 1) for i in range(count)]),
        masks=masks,
        scores=np.full(count, 0.75, np.float32),
        present=masks.any(axis=(1, 2)),
        seeded=np.ones(count, np.bool_),
    )
    return replace(value, **changes)


class Written:
    """A written video, decoded.

    Attributes:
        codec: FFmpeg's name of the video codec.
        tag: the stream's four-character code.
        color: its tags.
        images: each frame, (H, W, 3) RGB, or (H, W, 4) where there is alpha; uint16 for more than 8 bits.
        seconds: each frame's presentation time.
        durations: how long each is shown, as the file says.
        duration: the stream's length as the file says, None where it doesn't.
        audio: the sound streams.
        languages: the language of each sound stream.
    """

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            context: Any = stream.codec_context
            self.codec, self.tag, self.pixel_format = context.name, context.codec_tag, context.pix_fmt
            self.color = ColorTags(
                primaries=_name(PRIMARIES, context.color_primaries),
                transfer=_name(TRANSFERS, context.color_trc),
                matrix=_name(MATRICES, context.colorspace),
                range=_name(RANGES, context.color_range),
            )
            self.duration = stream.duration * stream.time_base if stream.duration and stream.time_base else None
            self.audio = tuple(
                AudioInfo(a.codec_context.codec.canonical_name, a.rate, a.layout.nb_channels)
                for a in container.streams.audio
            )
            self.languages = [a.metadata.get("language") for a in container.streams.audio]
            decoder: Any = context
            if context.codec.canonical_name == "vp9":  # FFmpeg's own decoder drops alpha
                decoder = av.CodecContext.create("libvpx-vp9", "r")
            decoded = [frame for packet in container.demux(stream) for frame in decoder.decode(packet)]
            self.seconds = [frame.pts * stream.time_base for frame in decoded]
            self.durations = [frame.duration * stream.time_base for frame in decoded]
            self.images = [self._rgb(frame) for frame in decoded] if keep else []

    def _rgb(self, frame: av.VideoFrame) -> npt.NDArray[Any]:
        deep = any(part.bits > 8 for part in frame.format.components)
        alpha = len(frame.format.components) == 4
        converted = VideoReformatter().reformat(
            frame,
            format={(0, 0): "rgb24", (1, 0): "rgb48le", (0, 1): "rgba", (1, 1): "rgba64le"}[(deep, alpha)],
            src_colorspace=swscale_matrix(self.color.matrix, width=frame.width, height=frame.height),
            src_color_range=RANGES[self.color.range or "tv"],
            dst_color_range=RANGES["pc"],
            interpolation=SCALE_FLAGS,
        )
        return converted.to_ndarray()


def sound(path: Path, stream: int = 0) -> tuple[npt.NDArray[np.float64], int]:
    """A sound stream's first channel as a player plays it, and its rate; sample 0 is at presentation time 0."""
    blocks: list[tuple[int, npt.NDArray[np.float64]]] = []
    with av.open(str(path)) as container:
        source = container.streams.audio[stream]
        rate = source.rate
        for frame in container.decode(source):
            values = frame.to_ndarray()
            channels = frame.layout.nb_channels
            first = values[0] if frame.format.is_planar else values[0, ::channels]
            scale = np.iinfo(first.dtype).max if first.dtype.kind == "i" else 1
            blocks.append((round(frame.pts * frame.time_base * rate), first / scale))
    end = max((at + len(values) for at, values in blocks), default=0)
    wave = np.zeros(max(0, end))
    for at, values in blocks:
        keep = values[max(0, -at) :]
        wave[max(0, at) : max(0, at) + len(keep)] = keep
    return wave, rate


def onset(wave: npt.NDArray[np.float64], rate: int) -> float:
    """When the sound first gets loud, in seconds."""
    loud = np.abs(wave) > 0.2
    return float(np.argmax(loud)) / rate if loud.any() else float("nan")


def psnr(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Peak signal to noise ratio in dB of two pictures of one type."""
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(np.iinfo(one.dtype).max ** 2 / error))


def _name(table: dict[str, int], code: int) -> str | None:
    return next((name for name, value in table.items() if value == code), None)
