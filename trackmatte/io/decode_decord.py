"""The backend `decord`, an optional extra."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal, cast

import av
import cv2
import numpy as np

from trackmatte.errors import InputError, UsageError
from trackmatte.io.color import is_rgb
from trackmatte.io.colortags import default_matrix
from trackmatte.io.opening import open_media, video_stream
from trackmatte.io.probe import probe
from trackmatte.io.reader import DamageLog, Picture, Reader
from trackmatte.io.timing import Clock, shown
from trackmatte.types import ClipInfo, UInt8Array

_LUMA = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # weights of red and blue


class DecordReader(Reader):
    """Reads 8-bit progressive video through decord; times and everything else come from the container.

    decord hands out RGB alone, converted with less care: against `av` a pixel is off by about one level on average,
    and by more at sharp edges of colour. At damage it can't go on: what comes after is lost.
    """

    def __init__(self, path: str, *, damaged: Literal["stop", "keep"] = "stop") -> None:
        """Probes the file.

        Raises:
            UsageError: decord isn't installed. InputError: the file can't be read, or is nothing for decord.
        """
        self._decord = _import_decord()
        super().__init__(probe(path), damaged=damaged)
        kinds = {
            "interlaced": self.info.interlaced,
            "mirrored": self.info.mirrored,
            f"of {self.info.bit_depth} bits": self.info.bit_depth > 8,
        }
        if kind := next((kind for kind, present in kinds.items() if present), None):
            raise InputError(f"{path} is {kind}, which decord can't read well; use the backend av")

    def _pictures(self, log: DamageLog) -> Iterator[Picture]:
        path = self.info.path
        times, interlaced = _times(path)
        if interlaced:
            raise InputError(f"{path} has interlaced frames, which decord can't read well; use the backend av")
        try:
            video = self._decord.VideoReader(path, num_threads=1)  # more threads lose frames
        except self._decord.DECORDError as error:
            raise InputError(f"{path} can't be opened by decord ({_first_line(error)}); use the backend av") from error
        if len(video) != len(times):
            raise InputError(
                f"decord sees {len(video)} frames in {path}, its container has {len(times)}; use the backend av"
            )
        correction = _correction(self.info)
        for number, pts in enumerate(times):
            try:
                image = video.next().asnumpy()
            except (self._decord.DECORDError, StopIteration):
                log.ends(f"decord can't decode after {number} of {len(times)} frames")
                return
            yield Picture(pts, None, _displayed(image, self.info, correction))


def _import_decord() -> Any:
    try:
        import decord
    except ImportError as error:
        raise UsageError("the backend decord isn't installed; run: pip install 'trackmatte[decord]'") from error
    decord.logging.set_level(decord.logging.FATAL)
    return decord


def _times(path: str) -> tuple[array[int], bool]:
    """Presentation times of the video's packets in order, 8 bytes a frame, and whether a keyframe is interlaced."""
    times, interlaced = array("q"), False
    with open_media(path) as container:
        stream = video_stream(container, path)
        reordered = bool(stream.codec_context.reorder_depth)
        stream.codec_context.skip_frame = "NONKEY"
        for packet in shown(Clock(container).demux([stream]), stream):
            if packet.size and not packet.is_discard:
                times.append(packet.pts if packet.pts is not None else packet.dts or 0)
            if (packet.is_keyframe or not packet.size) and not interlaced:
                with suppress(av.FFmpegError):  # decord meets the damage itself
                    interlaced = any(frame.interlaced_frame for frame in stream.decode(packet))
    return array("q", sorted(times) if reordered else times), interlaced


def _displayed(image: UInt8Array, info: ClipInfo, correction: np.ndarray[Any, Any] | None) -> UInt8Array:
    """Undoes what decord does differently; it turns pictures upright but leaves their pixels as they are."""
    image = image[:, :, :3]
    if correction is not None:
        image = cast(UInt8Array, cv2.transform(image, correction))
    if image.shape[:2] != (info.height, info.width):
        image = cast(UInt8Array, cv2.resize(image, (info.width, info.height), interpolation=cv2.INTER_CUBIC))
    return np.ascontiguousarray(image)


def _correction(info: ClipInfo) -> np.ndarray[Any, Any] | None:
    """(3, 3) from RGB by BT.601, which decord takes for anything untagged, to RGB by the matrix that is right."""
    matrix = default_matrix(info.coded_width, info.coded_height)
    if info.color.matrix is not None or matrix == "smpte170m" or is_rgb(info.pixel_format):
        return None
    return np.asarray(_to_rgb(matrix) @ np.linalg.inv(_to_rgb("smpte170m")))


def _to_rgb(matrix: str) -> np.ndarray[Any, Any]:
    red, blue = _LUMA[matrix]
    green = 1 - red - blue
    return np.array(
        [
            [1, 0, 2 - 2 * red],
            [1, -(2 - 2 * blue) * blue / green, -(2 - 2 * red) * red / green],
            [1, 2 - 2 * blue, 0],
        ]
    )


def _first_line(error: Exception) -> str:
    return re.sub(r"^(\[[^]]*\] |\S+\.cc:\d+: )+", "", str(error).strip().splitlines()[0])
