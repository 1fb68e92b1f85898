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

from trackmatte.errors import InputError, UsageError

# Text in a file that is not UTF-8 is an error to PyAV before 19, unless told otherwise; 19 keeps its bytes.
_ANY_TEXT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}

# What is opened: files, in formats that hold their own pictures and sound. Playlists and scripts lead elsewhere.
_FORMATS = (
    "aac ac3 aiff alaw amr apng asf av1 avi avs avs2 avs3 bink bmp_pipe caf cavsvideo dhav dirac dnxhd dts dv dxa eac3 "
    "exr_pipe ffmetadata fits flac flic flv gif gxf h261 h263 h264 hevc ico image2 ingenient ivf j2k_pipe jpeg_pipe "
    "jpegls_pipe jpegxl_anim jpegxl_pipe loas m4v matroska webm mjpeg mjpeg_2000 mlv mov mp4 m4a 3gp 3g2 mj2 mp3 mpeg "
    "mpegts mpegvideo mpjpeg mtv mv mxf nsv nut obu ogg pam_pipe pbm_pipe pgm_pipe png_pipe ppm_pipe qoi_pipe r3d rm "
    "roq smk svq3 swf tiff_pipe tta vc1 vc1test vivo vvc wav webp_pipe wsvqa wtv wv yuv4mpegpipe"
)
OPENING = {"protocol_whitelist": "file", "format_whitelist": _FORMATS.replace(" ", ",")}
"""Options of FFmpeg's demuxers: nothing but the file itself is opened, no network and no playlist."""

_PLAYLISTS = (b"#EXTM3U", b"<?xml", b"<MPD", b"ffconcat", b"[playlist]", b"<SmoothStreaming", b"v=0")


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
    """Opens a media file, whatever its name and whatever text its metadata hold. Raises av.FFmpegError or OSError."""
    container: InputContainer = av.open(f"file:{path}", "r", options=dict(OPENING), **_ANY_TEXT)
    return container


def check_file(path: str | Path) -> None:
    """Checks that a file is there, may be read and is not empty.

    Raises:
        InputError: it isn't.
    """
    if not str(path):
        raise InputError("the clip's name is empty; give a video file or a folder of images")
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


def video_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams that are not cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def video_stream(container: InputContainer, path: str | Path, index: int | None = None) -> VideoStream:
    """A video stream, set to decode with several threads.

    Args:
        container: the open file.
        path: its name.
        index: the stream's index in the file; None for FFmpeg's own choice: the one of the most pixels, where the
            default one counts five million more.

    Raises:
        InputError: there is none, or no decoder for it. UsageError: `index` is no video stream.
    """
    streams = video_streams(container)
    if not streams:
        kinds: list[str] = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise InputError(f"{path} has no video stream, only {' and '.join(kinds)}; give a file with a picture")
    if index is None:
        stream = max(streams, key=_preference)
    else:
        found = [stream for stream in streams if stream.index == index]
        if not found:
            known = ", ".join(str(stream.index) for stream in streams)
            raise UsageError(f"stream {index} of {path} is no video stream; the video streams are {known}")
        stream = found[0]
    if stream.codec_context is None:
        raise InputError(f"{path} is in a video format with no decoder here; convert it, or try the backend ffmpeg")
    stream.thread_type = "AUTO"
    return stream


def _preference(stream: VideoStream) -> int:
    context = stream.codec_context
    pixels = context.width * context.height if context is not None else 0
    return pixels + 5_000_000 * bool(stream.disposition & Disposition.default)


def _not_media(path: Path, error: av.FFmpegError) -> str:
    from trackmatte.io.integrity import cut_short

    with path.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \r\n\t")
    if start.startswith(_PLAYLISTS):
        return f"{path} is a playlist or a text, which are not opened; give the video file itself"
    if missing := cut_short(path):
        return f"{path} is cut off ({missing}) and its index is lost; get the whole file"
    return f"{path} is not a video that can be read ({error.strerror}); give a video file or a folder of images"
