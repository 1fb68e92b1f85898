"""Makes small clips for tests: deterministic, and each frame tells its own number.

A picture holds, from top to bottom: a quarter of its height with the frame's number as ten black or white blocks
(highest bit left), a grey ramp with an orange square that moves right by one eighth of the width a second, and
a quarter with four patches of red, green, blue and white. `picture` is what a decoder should give back and
`number` reads the blocks. The RGB to YUV conversion is done here in floating point, so that the reader's own
conversion is held against something else.

Sound is a 440 Hz tone that sounds for the first 100 ms of every second and is silent else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.subtitles.subtitle import SubtitleSet

from trackmatte.types import ColorTags

UNSPECIFIED = ColorTags()
BITS = 10
PATCHES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
SQUARE = (1.0, 0.5, 0.0)
SAMPLE_RATE = 48000
MILLISECOND = Fraction(1, 1000)
ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n"
    b"[V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, "
    b"Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, "
    b"MarginR, MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)

_MATRICES = {  # the weights of red and blue in luma
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "bt470bg": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
_MATRIX_CODES = {"bt709": 1, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "bt2020nc": 9}
_PRIMARIES_CODES = {"bt709": 1, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "bt2020": 9}
_TRANSFER_CODES = {"bt709": 1, "smpte170m": 6, "bt2020-10": 14, "smpte2084": 16, "arib-std-b67": 18}
_RANGE_CODES = {"tv": 1, "pc": 2}


def picture(
    index: float, size: tuple[int, int] = (96, 64), *, rate: Fraction = Fraction(25)
) -> npt.NDArray[np.float64]:
    """The picture of frame `index` as it should be displayed (before rotation and pixel aspect).

    Args:
        index: the frame's number; the blocks show its whole part modulo 1024.
        size: (W, H).
        rate: frames a second, for the speed of the square.

    Returns:
        (H, W, 3) float64 RGB in 0..1.
    """
    width, height = size
    image = np.empty((height, width, 3))
    image[:] = np.linspace(0.1, 0.9, width)[None, :, None]
    columns = np.arange(width)
    top, bottom = height // 4, height - height // 4
    bits = int(index) >> (BITS - 1 - columns * BITS // width) & 1
    image[:top] = bits[None, :, None]
    image[bottom:] = np.array(PATCHES)[columns * 4 // width][None]
    side = max(1, (bottom - top) // 2)
    left = round(index / float(rate) * width / 8) % max(1, width - side + 1)
    row = (top + bottom - side) // 2
    image[row : row + side, left : left + side] = SQUARE
    return image


def number(image: npt.NDArray[Any]) -> int:
    """Reads the frame's number from a decoded picture, (H, W, 3) or (H, W) of any integer type."""
    height, width = image.shape[:2]
    full = np.iinfo(image.dtype).max
    centres = [(2 * i + 1) * width // (2 * BITS) for i in range(BITS)]
    values = image.reshape(height, width, -1)[height // 8, centres].mean(axis=1) > full / 2
    return sum(int(bit) << (BITS - 1 - i) for i, bit in enumerate(values))


def make_clip(
    path: str | Path,
    *,
    frames: int = 24,
    size: tuple[int, int] = (96, 64),
    rate: Fraction = Fraction(25),
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    audio: str | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    color: ColorTags = UNSPECIFIED,
    rotation: int = 0,
    mirrored: bool = False,
    sar: Fraction = Fraction(1),
    gop: int = 12,
    interlaced: bool = False,
    options: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    stream_tags: Mapping[str, str] | None = None,
    chapters: Sequence[tuple[float, float, str]] = (),
    subtitles: Sequence[tuple[float, float, str]] = (),
) -> Path:
    """Writes a clip; the suffix chooses the container.

    Args:
        path: the file to write.
        frames: how many frames.
        size: (W, H) as stored.
        rate: frames a second.
        pix_fmt: FFmpeg's name of the stored format.
        codec: FFmpeg's name of the encoder.
        audio: encoder of a sound stream as long as the picture (`aac`, `libopus`, `pcm_s16le`, ...), or None.
        pts: presentation times in ticks of `time_base`, increasing, one a frame; None for a constant rate.
        time_base: of `pts`; None for 1/rate.
        color: tags to write; matrix and range also choose the conversion (where None: BT.709 from 1280x720 on and
            BT.601 below, limited).
        rotation: clockwise degrees that a player turns the picture by (0, 90, 180, 270); .mp4 and .mov.
        mirrored: whether a player flips the turned picture left to right; .mp4 and .mov.
        sar: width of a stored pixel over its height.
        gop: frames between keyframes.
        interlaced: top field first; the lower field (odd rows) is half a frame later.
        options: more options of the video encoder.
        tags: metadata of the file.
        stream_tags: metadata of the video stream; `timecode` makes a timecode track in .mov and .mp4.
        chapters: start and end in seconds, and title of each.
        subtitles: start and end in seconds, and text of each; SubRip in .mkv, timed text in .mp4 and .mov.

    Returns:
        `path`.
    """
    path = Path(path)
    ticks = list(range(frames)) if pts is None else list(pts)
    base = time_base or 1 / Fraction(rate)
    below = {"avoid_negative_ts": "disabled"} if ticks and ticks[0] < 0 else {}
    with av.open(str(path), "w", options=below) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        _configure(stream, size=size, pix_fmt=pix_fmt, base=base, color=color, sar=sar, gop=gop)
        stream.options = _encoder_options(codec, interlaced, options or {})
        container.metadata.update(tags or {})
        stream.metadata.update(stream_tags or {})
        container.set_chapters(_chapters(chapters))
        sound = None if audio is None else container.add_stream(audio, rate=SAMPLE_RATE)
        texts = _subtitles(container, subtitles)
        end = (ticks[-1] + (ticks[-1] - ticks[-2] if frames > 1 else 1)) * base if ticks else Fraction(0)
        samples = iter(()) if sound is None else _tone(sound, ticks[0] * base, end)
        heard = Fraction(-1)
        for i, tick in enumerate(ticks):
            while sound is not None and heard <= tick * base and (block := next(samples, None)) is not None:
                container.mux(sound.encode(block))
                heard = Fraction(block.pts, SAMPLE_RATE)
            while texts and texts[0].pts * texts[0].time_base <= tick * base:
                container.mux(texts.pop(0))
            frame = _frame(i, size, rate, pix_fmt, color, interlaced)
            frame.pts, frame.time_base = tick, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for block in samples:
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    if rotation or mirrored:
        _set_orientation(path, rotation, mirrored)
    return path


def _chapters(chapters: Sequence[tuple[float, float, str]]) -> list[Any]:
    """What PyAV takes as chapters."""
    return [
        {
            "id": i,
            "start": round(a * 1000),
            "end": round(b * 1000),
            "time_base": MILLISECOND,
            "metadata": {"title": text},
        }
        for i, (a, b, text) in enumerate(chapters)
    ]


def _subtitles(container: Any, subtitles: Sequence[tuple[float, float, str]]) -> list[Any]:
    """Packets of a stream of text, which is added to the container where there are any."""
    if not subtitles:
        return []
    stream = container.add_stream("srt" if container.format.name == "matroska" else "mov_text")
    stream.codec_context.subtitle_header = ASS_HEADER
    stream.time_base = stream.codec_context.time_base = MILLISECOND
    stream.metadata["language"] = "ger"
    packets = []
    for number, (start, end, text) in enumerate(subtitles):
        event = f"{number},0,Default,,0,0,0,,{text}".encode()
        packet = stream.codec_context.encode_subtitle(SubtitleSet.create(event, 0, round((end - start) * 1000)))
        packet.pts = packet.dts = round(start * 1000)
        packet.duration, packet.time_base, packet.stream = round((end - start) * 1000), MILLISECOND, stream
        packets.append(packet)
    return packets


def make_images(
    folder: str | Path, *, frames: int = 8, size: tuple[int, int] = (96, 64), suffix: str = ".png", bits: int = 8
) -> Path:
    """Writes a folder of pictures named `frame1`, `frame2`, ... (no leading zeros); 16 bits for .png and .tif.

    Returns:
        `folder`.
    """
    import cv2

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(frames):
        values = np.round(picture(i, size) * (2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)
        if not cv2.imwrite(str(folder / f"frame{i + 1}{suffix}"), np.ascontiguousarray(values[..., ::-1])):
            raise OSError(f"could not write {folder / f'frame{i + 1}{suffix}'}")
    return folder


def make_tiff(
    path: str | Path, pixels: npt.NDArray[Any], *, orientation: int = 1, size: tuple[int, int] | None = None
) -> Path:
    """Writes a TIFF without compression, of any type of numbers that TIFF knows.

    Args:
        path: the file to write.
        pixels: (H, W) or (H, W, C); of any integer or float type.
        orientation: EXIF's, 1 to 8.
        size: (W, H) to claim in the header, where it is to be a lie.

    Returns:
        `path`.
    """
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    wide, high = size or (width, height)
    tags = {
        256: [wide], 257: [high], 258: [pixels.dtype.itemsize * 8] * samples, 259: [1], 262: [2 if samples > 2 else 1],
        273: [0], 274: [orientation], 277: [samples], 278: [high], 279: [len(data)],
        **({338: [2]} if samples in (2, 4) else {}), 339: [kind] * samples,
    }  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    lists = {tag: struct.pack(f"<{len(values)}I", *values) for tag, values in tags.items() if len(values) > 1}
    tags[273] = [start + sum(map(len, lists.values()))]
    entries, place = b"", start
    for tag, values in tags.items():
        entries += struct.pack("<HHII", tag, 4, len(values), place if tag in lists else values[0])
        place += len(lists.get(tag, b""))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    Path(path).write_bytes(head + entries + struct.pack("<I", 0) + b"".join(lists.values()) + data)
    return Path(path)


def make_sound(path: str | Path, *, seconds: int = 1, codec: str = "aac") -> Path:
    """Writes a file with a sound stream alone.

    Returns:
        `path`.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE)
        for block in _tone(stream, Fraction(0), Fraction(seconds)):
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return Path(path)


def _configure(
    stream: Any, *, size: tuple[int, int], pix_fmt: str, base: Fraction, color: ColorTags, sar: Fraction, gop: int
) -> None:
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    context = stream.codec_context
    context.time_base = base
    context.gop_size = gop
    context.thread_count = 1
    if sar != 1:
        context.sample_aspect_ratio = sar
    context.colorspace = _MATRIX_CODES.get(color.matrix or "", 2)
    context.color_primaries = _PRIMARIES_CODES.get(color.primaries or "", 2)
    context.color_trc = _TRANSFER_CODES.get(color.transfer or "", 2)
    context.color_range = _RANGE_CODES.get(color.range or "", 0)


def _encoder_options(codec: str, interlaced: bool, more: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    if codec == "libx264":
        options = {"preset": "fast", "crf": "8"}
        if interlaced:
            options["x264-params"] = "tff=1"
    elif codec == "libx265":
        options = {"preset": "ultrafast", "crf": "8", "x265-params": "log-level=error:pools=none"}
    elif codec == "libvpx-vp9":
        options = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "0"}
    elif interlaced:
        options = {"flags": "+ilme+ildct"}
    return {**options, **more}


def _frame(
    index: int, size: tuple[int, int], rate: Fraction, pix_fmt: str, color: ColorTags, interlaced: bool
) -> av.VideoFrame:
    rgb = picture(index, size, rate=rate)
    if interlaced:
        rgb[1::2] = picture(index + 0.5, size, rate=rate)[1::2]
    layout = pix_fmt.removesuffix("10le").removesuffix("12le").replace("yuvj", "yuv")
    if layout not in ("yuv420p", "yuv422p", "yuv444p"):
        deep = "16" in pix_fmt or "10" in pix_fmt or "12" in pix_fmt
        values = np.round(rgb * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
        return av.VideoFrame.from_ndarray(values, format="rgb48le" if deep else "rgb24").reformat(format=pix_fmt)
    bits = 10 if pix_fmt.endswith("10le") else 12 if pix_fmt.endswith("12le") else 8
    full = color.range == "pc" or pix_fmt.startswith("yuvj")
    frame = av.VideoFrame(size[0], size[1], pix_fmt)
    matrix = color.matrix or ("bt709" if size[0] >= 1280 or size[1] >= 720 else "smpte170m")
    for plane, values in zip(frame.planes, yuv_planes(rgb, layout, bits, matrix, full), strict=True):
        data = np.zeros((plane.height, plane.line_size), np.uint8)
        data[:, : values.shape[1] * values.itemsize] = np.ascontiguousarray(values).view(np.uint8)
        plane.update(data.tobytes())
    return frame


def yuv_planes(
    rgb: npt.NDArray[np.float64], layout: str, bits: int, matrix: str, full: bool
) -> tuple[npt.NDArray[Any], ...]:
    """Converts RGB in 0..1 to the planes of `yuv420p`, `yuv422p` or `yuv444p` with `bits` a component.

    Returns:
        (H, W) luma, then two chroma planes averaged over 2x2, 2x1 or 1x1 pixels; uint8, or uint16 for more bits.
    """
    red, blue = _MATRICES[matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    cb, cr = (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)
    scale = 2.0 ** (bits - 8)
    top = 2**bits - 1
    rows, columns = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}[layout]
    y = luma * top if full else (16 + 219 * luma) * scale
    chroma = [_shrink(c, rows, columns) * (top if full else 224 * scale) + 128 * scale for c in (cb, cr)]
    dtype = np.uint8 if bits == 8 else np.uint16
    return tuple(np.clip(np.round(plane), 0, top).astype(dtype) for plane in (y, *chroma))


def _shrink(plane: npt.NDArray[np.float64], rows: int, columns: int) -> npt.NDArray[np.float64]:
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % rows), (0, -width % columns)), mode="edge")
    return padded.reshape(padded.shape[0] // rows, rows, -1, columns).mean(axis=(1, 3))


def _tone(stream: Any, start: Fraction, end: Fraction) -> Iterator[av.AudioFrame]:
    stream.layout = "mono"
    first, last = int(start * SAMPLE_RATE), int(end * SAMPLE_RATE)
    kind = stream.codec_context.format.name if stream.codec_context.format else "fltp"
    for at in range(first, last, 960):
        n = np.arange(at, min(at + 960, last))
        wave = 0.5 * np.sin(2 * np.pi * 440 * n / SAMPLE_RATE) * (n % SAMPLE_RATE < SAMPLE_RATE // 10)
        if kind.startswith("s16"):
            block = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format=kind, layout="mono")
        else:
            block = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
        yield block


def _set_orientation(path: Path, degrees: int, mirrored: bool) -> None:
    """Writes the display matrix into the first track's header of an MP4 or MOV file."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4
    matrix_at = at + (52 if data[at] else 40)
    one = 0x10000
    a, b = {0: (one, 0), 90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    flip = -1 if mirrored else 1
    struct.pack_into(">9i", data, matrix_at, flip * a, b, 0, -flip * b, a, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
