"""Value types that every room shares: clips, frames, prompts and masks.

Shapes are written in the order of the axes: H rows, W columns, O objects. Coordinates are pixels of the picture
as displayed (after rotation and pixel aspect), x to the right and y down, with the origin in the outer corner
of the top left pixel, whose centre is at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import inf
from numbers import Integral, Rational, Real

import numpy as np
import numpy.typing as npt

from trackmatte.errors import UsageError

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
ImageArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class ColorTags:
    """How a stream's numbers map to colour, by FFmpeg's names (`bt709`, `smpte170m`, ...); None is unspecified.

    Attributes:
        primaries: chromaticities of the primaries (`bt709`, `bt2020`, ...).
        transfer: transfer characteristic (`bt709`, `arib-std-b67` for HLG, `smpte2084` for PQ, ...).
        matrix: YUV matrix (`bt709`, `smpte170m`, `bt470bg`, `bt2020nc`, ...).
        range: `tv` (limited) or `pc` (full).
    """

    primaries: str | None = None
    transfer: str | None = None
    matrix: str | None = None
    range: str | None = None


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """One sound stream of a clip.

    Attributes:
        codec: FFmpeg's codec name (`aac`, `opus`, `pcm_s16le`, ...).
        sample_rate: samples a second.
        channels: number of channels.
    """

    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class SubtitleInfo:
    """One subtitle stream of a clip.

    Attributes:
        stream: its index in the file.
        codec: FFmpeg's codec name (`subrip`, `mov_text`, `hdmv_pgs_subtitle`, ...).
        language: the language's code (`ger`), or None.
    """

    stream: int
    codec: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a clip that has a title; times in seconds of the clip."""

    start_seconds: Fraction
    end_seconds: Fraction
    title: str = ""


@dataclass(frozen=True, slots=True)
class MasteringDisplay:
    """The display that a picture was graded on (SMPTE ST 2086).

    Attributes:
        primaries: CIE 1931 (x, y) of red, green and blue.
        white_point: (x, y) of white.
        luminance: least and greatest, in candela per square metre.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...]
    white_point: tuple[Fraction, Fraction]
    luminance: tuple[Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class ContentLight:
    """The content light level (CTA-861.3), in candela per square metre.

    Attributes:
        max_cll: of the brightest pixel.
        max_fall: of the brightest frame, on average.
    """

    max_cll: int
    max_fall: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a clip holds beside its pictures and sound.

    Attributes:
        timecode: SMPTE timecode of the first frame, `HH:MM:SS:FF`, or `HH:MM:SS;FF` where it drops frames.
        reel: the reel's name.
        created: when it was recorded, as ISO 8601.
        title: its title.
        chapters: its chapters, in order.
        subtitles: its subtitle streams, in order.
        mastering_display: of HDR10.
        content_light: of HDR10.
        left_out: what else it holds that no output carries over, in words.
    """

    timecode: str | None = None
    reel: str | None = None
    created: str | None = None
    title: str | None = None
    chapters: tuple[Chapter, ...] = ()
    subtitles: tuple[SubtitleInfo, ...] = ()
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What the reader sees of a clip; sizes are as displayed, after rotation and pixel aspect.

    Attributes:
        path: the file or folder, as given.
        width: columns of a displayed frame.
        height: rows of a displayed frame.
        coded_width: columns as stored.
        coded_height: rows as stored.
        rotation: clockwise degrees applied for display: 0, 90, 180 or 270.
        mirrored: True where the picture is flipped left to right as well, after the rotation.
        pixel_aspect: width of a stored pixel over its height.
        rate: average frame rate, frames a second; None where unknown.
        variable_rate: True where frame durations differ; None where it was not determined.
        time_base: seconds of one tick of `Frame.pts`.
        start_seconds: presentation time of the first frame.
        duration_seconds: length; None where unknown.
        frames: number of frames as the header or the index tells, or an estimate; None where unknown.
        codec: FFmpeg's name of the video codec (`h264`, ...), or the image format of a folder.
        pixel_format: FFmpeg's name of the stored pixel format (`yuv420p10le`, ...).
        bit_depth: bits of a stored component.
        interlaced: True where the stream is interlaced; frames are then deinterlaced.
        has_alpha: True where the stream carries an alpha plane (which reading leaves out).
        color: the stream's colour tags.
        audio: the sound streams, in order.
        container: FFmpeg's name of the container format, or `images`.
        stream: index in the file of the video stream that is read.
        zero_seconds: time of the clip at which videos written from it begin: 0, unless its own times begin below 0 or
            far from it.
        metadata: what the clip holds beside pictures and sound, such as timecode and chapters.
        notes: sentences on what a user should know of the clip before its frames are read, such as streams left out.
        files: of a folder, the names of its images in order; the frame at tick `pts` is `files[pts]`.
    """

    path: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int = 0
    mirrored: bool = False
    pixel_aspect: Fraction = Fraction(1)
    rate: Fraction | None = None
    variable_rate: bool | None = None
    time_base: Fraction = Fraction(1, 1000)
    start_seconds: Fraction = Fraction(0)
    duration_seconds: Fraction | None = None
    frames: int | None = None
    codec: str = ""
    pixel_format: str = ""
    bit_depth: int = 8
    interlaced: bool = False
    has_alpha: bool = False
    color: ColorTags = ColorTags()
    audio: tuple[AudioInfo, ...] = ()
    container: str = ""
    stream: int = 0
    zero_seconds: Fraction = Fraction(0)
    metadata: Metadata = Metadata()
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with its place in time.

    Attributes:
        index: position in the clip, counted from 0 in presentation order.
        pts: presentation time in ticks of `time_base`.
        time_base: seconds of one tick.
        image: (H, W, 3) RGB as displayed; (H, W, 4) with straight alpha or (H, W) grey for outputs. uint8 in
            0..255, or uint16 in 0..65535 for sources of more than 8 bits. Values keep the clip's transfer
            characteristic; only matrix and range are undone.
        duration: how long the frame is shown, in ticks; None where unknown.
    """

    index: int
    pts: int
    time_base: Fraction
    image: ImageArray
    duration: int | None = None

    @property
    def pts_seconds(self) -> Fraction:
        """Presentation time in seconds, exact."""
        return self.pts * self.time_base

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.image.shape[1])

    @property
    def image8(self) -> UInt8Array:
        """`image` as uint8 in 0..255; deep values are rounded."""
        if self.image.dtype == np.uint8:
            return self.image  # type: ignore[return-value]
        return ((self.image.astype(np.uint32) + 128) // 257).astype(np.uint8)

    def with_image(self, image: ImageArray) -> Frame:
        """The same place in time with another picture."""
        return replace(self, image=image)


@dataclass(frozen=True, slots=True)
class Time:
    """A place in a clip: a frame index, or seconds (the first frame at or after that presentation time)."""

    frame: int | None = None
    seconds: Fraction | None = None

    def __post_init__(self) -> None:
        _set_time(self)

    def reached(self, frame: Frame) -> bool:
        """Whether `frame` is at or after this time."""
        if self.seconds is not None:
            return frame.pts_seconds >= self.seconds
        return frame.index >= (self.frame or 0)

    def __str__(self) -> str:
        return f"{float(self.seconds):g}s" if self.seconds is not None else f"frame {self.frame}"


@dataclass(frozen=True, slots=True)
class Range:
    """The part of a clip to work on: from `start` (included) up to `end` (left out); None is open."""

    start: Time | None = None
    end: Time | None = None

    def __post_init__(self) -> None:
        for end in (self.start, self.end):
            if end is not None and not isinstance(end, Time):
                raise UsageError(f"a range is from Time to Time, not {end!r}; give for example Time(frame=48)")
        for value in ("frame", "seconds"):
            first, last = getattr(self.start, value, None), getattr(self.end, value, None)
            if first is not None and last is not None and last <= first:
                raise UsageError(
                    f"the end ({self.end}) is not after the start ({self.start}); give an end after the start"
                )


WHOLE = Range()
"""All of a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Which object a prompt names and when.

    Attributes:
        name: the object's name.
        frame: index of the frame; None with `seconds` None is the first frame that is tracked.
        seconds: time instead of an index: the first frame at or after it; numbers become exact fractions.

    Raises:
        UsageError: the name is no text, the time no index or number from 0, or both are given.
    """

    name: str = "1"
    frame: int | None = None
    seconds: Fraction | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise UsageError(f"an object's name is a text, not {self.name!r}")
        _set_time(self)


def _form(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _set_time(value: Time | At) -> None:
    """Checks a frame or seconds, and makes them an int and a Fraction. Raises UsageError."""
    if value.frame is not None and value.seconds is not None:
        raise UsageError(f"frame={value.frame!r} and seconds={value.seconds!r} are both given; give one of them")
    if value.frame is not None:
        if isinstance(value.frame, bool) or not isinstance(value.frame, Integral) or value.frame < 0:
            raise UsageError(f"frame={value.frame!r} is no index; give a whole number from 0, or seconds")
        object.__setattr__(value, "frame", int(value.frame))
    if value.seconds is not None:
        if isinstance(value.seconds, bool) or not isinstance(value.seconds, Real) or not 0 <= value.seconds < inf:
            raise UsageError(f"seconds={value.seconds!r} is no time; give a number from 0")
        exact = isinstance(value.seconds, Rational)
        object.__setattr__(value, "seconds", Fraction(value.seconds if exact else str(float(value.seconds))))


@dataclass(frozen=True, slots=True)
class Point(At):
    """A click at (x, y) in displayed pixels; `positive` is False for a click on what is not the object."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Box(At):
    """A box around the object, corners (x0, y0) top left and (x1, y1) bottom right, in displayed pixels."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True, eq=False)
class Mask(At):
    """The object's mask: (H, W) bool of the displayed size."""

    mask: BoolArray


Prompt = Point | Box | Mask


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMasks:
    """The masks of all objects in one frame.

    Attributes:
        index: the frame's position in the clip.
        pts: presentation time in ticks of `time_base`.
        time_base: seconds of one tick.
        names: the objects' names, in the order of axis O; the same in every frame of a run.
        masks: (O, H, W) bool, at the clip's displayed size. An absent object's mask is empty.
        scores: (O,) float32 in 0..1: the probability that the object is visible (0 before its first prompt).
        present: (O,) bool: the object is visible and has a mask.
        seeded: (O,) bool: the object has had its first prompt.
        duration: how long the frame is shown, in ticks; None where unknown.
        frame: the picture, (H, W, 3) RGB uint8 as displayed, where it was asked for; else None.
    """

    index: int
    pts: int
    time_base: Fraction
    names: tuple[str, ...]
    masks: BoolArray
    scores: Float32Array
    present: BoolArray
    seeded: BoolArray
    duration: int | None = None
    frame: UInt8Array | None = None

    @classmethod
    def of(cls, frame: Frame, masks: BoolArray, names: Sequence[str] | None = None) -> ObjectMasks:
        """Masks from elsewhere, to be rendered or written as if they had been tracked.

        Args:
            frame: whose place in time they have.
            masks: (O, H, W) bool, of the frame's size.
            names: the objects' names; None for "1", "2", ...

        Raises:
            UsageError: the masks are no such array, or there are more or fewer names.
        """
        size = (frame.height, frame.width)
        if not isinstance(masks, np.ndarray) or masks.dtype != np.bool_ or masks.ndim != 3 or masks.shape[1:] != size:
            raise UsageError(f"masks are a bool array (O, {size[0]}, {size[1]}) for this frame, not {_form(masks)}")
        names = tuple(str(i + 1) for i in range(len(masks))) if names is None else tuple(names)
        if len(names) != len(masks):
            raise UsageError(f"{len(names)} names for {len(masks)} masks; give a name for each")
        return cls(
            index=frame.index,
            pts=frame.pts,
            time_base=frame.time_base,
            names=names,
            masks=masks,
            scores=np.ones(len(masks), np.float32),
            present=np.asarray(masks.any(axis=(1, 2))),
            seeded=np.ones(len(masks), np.bool_),
            duration=frame.duration,
        )

    @property
    def pts_seconds(self) -> Fraction:
        """Presentation time in seconds, exact."""
        return self.pts * self.time_base

    def with_image(self, image: ImageArray) -> Frame:
        """A picture at this place in time, as `VideoWriter` takes it; see `Frame`."""
        return Frame(self.index, self.pts, self.time_base, image, self.duration)

    def union(self) -> BoolArray:
        """(H, W) bool: where any object is."""
        return np.asarray(self.masks.any(axis=0))

    def only(self, names: tuple[str, ...]) -> ObjectMasks:
        """The named objects alone, in their order here."""
        keep = [i for i, name in enumerate(self.names) if name in names]
        return replace(
            self,
            names=tuple(self.names[i] for i in keep),
            masks=self.masks[keep],
            scores=self.scores[keep],
            present=self.present[keep],
            seeded=self.seeded[keep],
        )
