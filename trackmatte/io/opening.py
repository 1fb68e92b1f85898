"""Opens media files through PyAV; the one place where its errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from trackmatte.errors import InputError

# Text in a file that is not UTF-8 is an error to PyAV before 19, unless told otherwise; 19 keeps its bytes.
_ANY_TEXT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """Opens a media file and closes it at the end of the block.

    Raises:
        InputError: the file is missing, may not be read, is empty, or is not a media file.
    """
    check_file(path)
    try:
        container = open_container(path)
    except av.FFmpegError as error:
        raise InputError(_not_media(Path(path), error)) from error
    with container:
        yield container


def open_container(path: str | Path) -> InputContainer:
    """Opens a media file whatever text its metadata hold. Raises av.FFmpegError or OSError."""
    container: InputContainer = av.open(str(path), "r", **_ANY_TEXT)
    return container


def check_file(path: str | Path) -> None:
    """Checks that a file is there, may be read and is not empty.

    Raises:
        InputError: it isn't.
    """
    file = Path(path)
    try:
        if not file.exists():
            raise InputError(f"{path} doesn't exist; give a video file or a folder of images")
        if not file.is_file():
            raise InputError(f"{path} is not a file; give a video file or a folder of images")
        if file.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); give a video file")
        with file.open("rb"):
            pass
    except PermissionError as error:
        raise InputError(f"{path} may not be read (permission denied); change its permissions") from error
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the disk or give another file") from error


def video_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """The first video stream that is not a cover picture, set to decode with several threads.

    Raises:
        InputError: there is none, or no decoder for it.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kinds: list[str] = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise InputError(f"{path} has no video stream, only {' and '.join(kinds)}; give a file with a picture")
    stream = streams[0]
    if stream.codec_context is None:
        raise InputError(f"{path} is in a video format with no decoder here; convert it, or try the backend ffmpeg")
    stream.thread_type = "AUTO"
    return stream


def _not_media(path: Path, error: av.FFmpegError) -> str:
    from trackmatte.io.integrity import cut_short

    if missing := cut_short(path):
        return f"{path} is cut off ({missing}) and its index is lost; get the whole file"
    return f"{path} is not a video that can be read ({error.strerror}); give a video file or a folder of images"
