"""One video stream of an output: pictures in, packets out."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from trackmatte.errors import OutputError
from trackmatte.io.color import SCALE_FLAGS, is_rgb, source_range
from trackmatte.io.colortags import RANGES, set_tags, swscale_matrix
from trackmatte.io.encoders import VideoSpec
from trackmatte.io.full_range import rounded
from trackmatte.types import ClipInfo, ColorTags, Frame

_FULL = RANGES["pc"]
_MAX_THREADS = 8
_WHITE = 65283
_IMAGE_TAGS = ColorTags(primaries="bt709", transfer="iec61966-2-1", matrix="bt709", range="tv")
_MATTE_TAGS = ColorTags(primaries="bt709", transfer="bt709", matrix="bt709", range="tv")
_INPUT_FORMATS = {
    ("color", "uint8"): ("rgb24", 3),
    ("color", "uint16"): ("rgb48le", 3),
    ("matte", "uint8"): ("gray", None),
    ("alpha", "uint8"): ("rgba", 4),
    ("alpha", "uint16"): ("rgba64le", 4),
}


def stream_tags(spec: VideoSpec, clip: ClipInfo) -> ColorTags:
    """The colour tags of the output: the clip's, unspecified ones too, as far as the stream can carry them.

    A matte is BT.709 in limited range whatever the clip is. An RGB stream has no matrix and full range. ProRes
    knows limited range alone. A clip that is stored as RGB gets BT.709's matrix in limited range, and a folder of
    images the sRGB tags besides that images go by.
    """
    if spec.kind == "matte":
        return _MATTE_TAGS
    tags = clip.color
    if clip.container == "images":
        tags = _IMAGE_TAGS
    elif tags.matrix == "gbr" or is_rgb(clip.pixel_format):
        tags = replace(tags, matrix="bt709", range="tv")
    if spec.rgb:
        return replace(tags, matrix="gbr", range="pc")
    return replace(tags, range="tv") if spec.codec == "prores_ks" else tags


class PictureEncoder:
    """Converts frames to what the encoder wants and encodes them.

    The matrix of the conversion is the one that a reader of the output will use: the tagged one, or the default for
    the output's size where there is no tag.
    """

    def __init__(
        self, container: OutputContainer, spec: VideoSpec, *, first: Frame, clip: ClipInfo, origin: int
    ) -> None:
        """Adds the stream to the container.

        Args:
            container: the output; its header must not be written yet.
            spec: how to encode.
            first: the frame that sets size, depth and time base (it isn't encoded by this).
            clip: where the frames come from.
            origin: the tick that becomes zero.
        """
        self._spec = spec
        self._first = first
        self._origin = origin
        self._last: int | None = None
        self._tags = stream_tags(spec, clip)
        self._matrix = swscale_matrix(self._tags.matrix, width=first.width, height=first.height)
        self._range = RANGES[source_range(self._tags, pixel_format=spec.pixel_format)]
        self._last_duration = 0
        self._step = max(1, round(1 / (clip.rate * first.time_base))) if clip.rate else 1
        self._durations: dict[int, int] = {}
        self._scaler = VideoReformatter()
        self._stream = self._add_stream(container, clip)

    def _add_stream(self, container: OutputContainer, clip: ClipInfo) -> VideoStream:
        spec, tags = self._spec, self._tags
        os.environ.setdefault("SVT_LOG", "1")  # errors alone: SVT-AV1 tells its settings on stderr otherwise
        rate = (clip.rate or Fraction(25)).limit_denominator(100_000)
        stream: VideoStream = container.add_stream(spec.codec, rate=rate, options=dict(spec.options))  # type: ignore[assignment]
        context: Any = stream.codec_context
        context.width, context.height = self._first.width, self._first.height
        context.pix_fmt = spec.pixel_format
        context.time_base = stream.time_base = self._first.time_base
        context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        if spec.tag is not None:
            context.codec_tag = spec.tag
        set_tags(context, tags)
        return stream

    def encode(self, frame: Frame) -> list[Packet[Any]]:
        """Packets that are ready once this frame is in.

        Raises:
            OutputError: size, depth or time base changed, or time didn't move forward.
        """
        self._check(frame)
        pts = frame.pts - self._origin
        if self._last is not None:
            self._step = pts - self._last
        self._last = pts
        self._last_duration = self._durations[pts] = frame.duration or self._step
        picture = self._convert(frame)
        picture.pts, picture.time_base, picture.duration = pts, frame.time_base, self._last_duration
        return self._timed(self._stream.encode(picture))

    @property
    def origin(self) -> Fraction:
        """The time in the clip that became zero, in seconds."""
        return self._origin * self._first.time_base

    @property
    def end(self) -> Fraction:
        """When the last frame's time is over, in seconds of the output."""
        return (0 if self._last is None else self._last + self._last_duration) * self._first.time_base

    def flush(self) -> list[Packet[Any]]:
        """The last packets."""
        return self._timed(self._stream.encode(None))

    def _check(self, frame: Frame) -> None:
        first, image = self._first, frame.image
        if image.shape != first.image.shape or image.dtype != first.image.dtype or frame.time_base != first.time_base:
            raise OutputError(
                f"frame {frame.index} is {image.shape} {image.dtype} in ticks of {frame.time_base} s, "
                f"{first.image.shape} {first.image.dtype} in {first.time_base} s as the first one was expected"
            )
        if self._last is not None and frame.pts - self._origin <= self._last:
            raise OutputError(f"frame {frame.index} is at tick {frame.pts}, after its predecessor's was expected")

    def _timed(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        """Gives each packet its duration, which the container needs for the last one."""
        for packet in packets:
            duration = self._durations.pop(packet.pts, None) if packet.pts is not None else None
            if duration is not None:
                packet.duration = duration
        return packets

    def _convert(self, frame: Frame) -> VideoFrame:
        """The picture in the encoder's pixel format."""
        source_format, _ = input_format(self._spec, frame)
        image: Any = np.ascontiguousarray(frame.image)
        if image.dtype == np.uint16 and not self._spec.rgb:
            image = _scaled_for_yuv(image)
        source = VideoFrame.from_ndarray(image, format=source_format)
        if not self._spec.rgb:
            source.colorspace = self._matrix  # PyAV 17 takes BT.2020 from here alone
        wanted = self._spec.pixel_format
        full_range = not self._spec.rgb and self._range == _FULL and not wanted.endswith("10le")
        picture = self._scaler.reformat(
            source,
            format=wanted + "10le" if full_range else wanted,
            dst_colorspace=None if self._spec.rgb else self._matrix,
            interpolation=SCALE_FLAGS,
            src_color_range=_FULL,
            dst_color_range=self._range,
            threads=1,
        )
        if full_range:
            picture = rounded(picture, wanted)
        set_tags(picture, self._tags)
        return picture


def input_format(spec: VideoSpec, frame: Frame) -> tuple[str, int | None]:
    """FFmpeg's pixel format of a frame's array, and its channels.

    Raises:
        OutputError: the array is not of this kind.
    """
    image = frame.image
    known = _INPUT_FORMATS.get((spec.kind, str(image.dtype)))
    channels = image.shape[2] if image.ndim == 3 else None
    if known is None or image.ndim not in (2, 3) or channels != known[1]:
        raise OutputError(
            f"frame {frame.index} is {image.shape} {image.dtype}, which is no picture of kind {spec.kind}"
        )
    return known


def _scaled_for_yuv(image: Any) -> Any:
    """Deep RGB as swscale wants it: on the way to YUV it takes 65283, not 65535, to white."""
    scaled = cv2.addWeighted(image, _WHITE / 65535, image, 0, 0)
    if image.shape[2] == 4:
        scaled[..., 3] = image[..., 3]
    return scaled
