"""What a clip holds beside pictures and sound: carried over where the output can hold it, named where it can't."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.assets.make_assets import make_clip
from trackmatte.io.decode import open_clip
from trackmatte.io.encode import VideoWriter
from trackmatte.io.probe import probe
from trackmatte.io.timecode import advanced
from trackmatte.types import Chapter, ClipInfo, ColorTags, Frame, Metadata

NTSC = Fraction(30000, 1001)
TEXTS = [(0.2, 0.8, "Hello"), (1.0, 3.0, "Second line\\Nof two"), (3.2, 3.8, "Last")]
CHAPTERS = [(0.0, 1.5, "One"), (1.5, 4.0, "Zwei")]
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with everything that an output can hold, and a place that none should."""
    return make_clip(
        tmp_path_factory.mktemp("tagged") / "clip.mov",
        frames=100,
        audio="aac",
        tags={"creation_time": "2020-05-06T07:08:09.000000Z", "title": "Täst", "location": "+48.1000+011.5000/"},
        stream_tags={"timecode": "09:59:59:20", "reel_name": "A001C002"},
        chapters=CHAPTERS,
        subtitles=TEXTS,
    )


def write(source: Path, output: Path, *, first: int = 0, last: int | None = None, **options: Any) -> VideoWriter:
    """Writes frames of a clip as the product does: a part of it is trimmed."""
    with open_clip(source) as clip:
        pictures = list(clip)
    part = pictures[first:last]
    trim = len(part) < len(pictures)
    writer = VideoWriter(output, clip=clip.info, **{"kind": "color", "trim": trim, **options})
    for picture in part:
        writer.write(picture)
    writer.finish()
    return writer


def subtitles(path: Path) -> list[tuple[float, float, str]]:
    """Start, end and text of each, in seconds."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        for packet in container.demux(stream):
            decoded = stream.codec_context.decode2(packet) if packet.size else None
            if decoded is not None and packet.pts is not None:
                start, length = packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base
                text = b"".join(rect.ass for rect in decoded.rects).split(b",", 8)[-1].decode()  # type: ignore[attr-defined]
                found.append((round(float(start), 2), round(float(start + length), 2), text))
    return found


def seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / 1e6


def test_all_of_it_is_read(tagged: Path) -> None:
    metadata = probe(tagged).metadata
    assert metadata.timecode == "09:59:59:20"
    assert metadata.reel == "A001C002"
    assert metadata.created == "2020-05-06T07:08:09.000000Z"
    assert metadata.title == "Täst"
    assert metadata.chapters == tuple(Chapter(Fraction(a), Fraction(b), text) for a, b, text in CHAPTERS)
    assert [(s.codec, s.language) for s in metadata.subtitles] == [("mov_text", "ger")]
    assert metadata.left_out == ("the location",)
    assert "the location" in " ".join(probe(tagged).notes)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_all_of_it_is_carried_over(tagged: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    writer = write(tagged, output)
    metadata, source = probe(output).metadata, probe(tagged).metadata
    reel = "" if suffix == ".mp4" else "A001C002"
    expected = replace(source, reel=reel or None, subtitles=metadata.subtitles, left_out=())
    assert metadata == expected
    assert [s.language for s in metadata.subtitles] == ["ger"]
    assert subtitles(output) == TEXTS
    assert (" ".join(writer.notes) == "out.mp4 goes without the reel name A001C002") == (suffix == ".mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_part_has_what_lies_in_it(tagged: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    write(tagged, output, first=30, last=70)  # 1.2 s to 2.8 s
    metadata = probe(output).metadata
    assert metadata.timecode == "10:00:01:00"  # frame 20 of a second, and 30 more, at 25 frames a second
    assert metadata.chapters == (
        Chapter(Fraction(0), Fraction(3, 10), "One"),
        Chapter(Fraction(3, 10), Fraction(8, 5), "Zwei"),
    )
    (start, end, text), *others = subtitles(output)
    assert (start, text, others) == (0, "Second line\\Nof two", [])
    if suffix in (".mp4", ".mov"):  # the file is as long as its longest stream
        assert end == 1.6
        assert seconds(output) == pytest.approx(1.6, abs=0.03)


def test_text_of_matroska_becomes_timed_text(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", frames=100, subtitles=TEXTS)
    write(source, tmp_path / "out.mp4")
    assert subtitles(tmp_path / "out.mp4") == TEXTS


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_subtitles_that_overlap_keep_their_starts(tmp_path: Path, suffix: str) -> None:
    texts = [(0.2 + 0.4 * i, 1.0 + 0.4 * i, f"line {i}") for i in range(7)]
    source = make_clip(tmp_path / "clip.mkv", frames=100, subtitles=texts)
    write(source, tmp_path / f"out{suffix}")
    found = subtitles(tmp_path / f"out{suffix}")
    assert [(start, text) for start, _, text in found] == [(round(start, 2), text) for start, _, text in texts]
    assert [end for _, end, _ in found[:-1]] == [round(start, 2) for start, _, _ in texts[1:]]


def test_subtitles_alone_are_read_by_time(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", frames=100, subtitles=TEXTS)
    write(source, tmp_path / "out.mkv", last=50)
    assert [text for *_, text in subtitles(tmp_path / "out.mkv")] == ["Hello", "Second line\\Nof two"]


def test_subtitles_far_ahead_don_t_end_the_sound(tagged: Path, tmp_path: Path) -> None:
    """In a file whose subtitles all lie before the sound."""
    source = tmp_path / "ahead.mkv"
    with av.open(str(tagged)) as whole, av.open(str(source), "w", options={"max_interleave_delta": "1"}) as container:
        streams = [whole.streams.video[0], whole.streams.audio[0]]
        targets = {stream.index: container.add_stream_from_template(stream) for stream in streams}
        text = container.add_stream("srt")
        text.codec_context.subtitle_header = b"[Script Info]\n[V4+ Styles]\n[Events]\n"
        for start in (0, 3):
            encoded = av.Packet(b"text")
            encoded.pts = encoded.dts = start * 1000
            encoded.duration, encoded.time_base, encoded.stream = 500, Fraction(1, 1000), text
            container.mux(encoded)
        for packet in whole.demux(*streams):
            if packet.size:
                packet.stream = targets[packet.stream.index]
                container.mux(packet)
    write(source, tmp_path / "out.mkv", last=25)
    with av.open(str(tmp_path / "out.mkv")) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert heard / 48000 == pytest.approx(1, abs=0.05)


def test_a_matte_has_timecode_and_no_text(tagged: Path, tmp_path: Path) -> None:
    with open_clip(tagged) as clip:
        pictures = [picture.with_image(picture.image[..., 0]) for picture in clip]
    writer = VideoWriter(tmp_path / "m.mov", clip=clip.info, kind="matte")
    for picture in pictures:
        writer.write(picture)
    writer.finish()
    metadata = probe(tmp_path / "m.mov").metadata
    assert (metadata.timecode, metadata.reel) == ("09:59:59:20", "A001C002")
    assert (metadata.chapters, metadata.subtitles, list(writer.notes)) == ((), (), [])


def test_subtitles_that_are_pictures_are_named(tagged: Path, tmp_path: Path) -> None:
    source = tmp_path / "dvb.mkv"
    with av.open(str(tagged)) as whole, av.open(str(source), "w") as container:
        video = whole.streams.video[0]
        target = container.add_stream_from_template(video)
        container.add_mux_stream("dvb_subtitle")
        for packet in whole.demux(video):
            if packet.size:
                packet.stream = target
                container.mux(packet)
    assert [s.codec for s in probe(source).metadata.subtitles] == ["dvb_subtitle"]
    writer = write(source, tmp_path / "out.mp4")
    assert list(writer.notes) == ["out.mp4 goes without subtitle stream 1 (dvb_subtitle)"]


@pytest.mark.parametrize("timecode", ["10:00:00:29", "no timecode"])
def test_a_timecode_that_the_rate_doesn_t_know_is_named(tmp_path: Path, timecode: str) -> None:
    source = make_clip(tmp_path / "clip.mkv", stream_tags={"timecode": timecode})
    writer = write(source, tmp_path / "out.mov")
    assert list(writer.notes) == [f"out.mov goes without the timecode {timecode}"]
    assert probe(tmp_path / "out.mov").metadata.timecode is None


def test_a_time_of_creation_that_is_none_does_no_harm(tmp_path: Path) -> None:
    with open_clip(make_clip(tmp_path / "clip.mp4")) as clip:
        info: ClipInfo = replace(clip.info, metadata=Metadata(created="last summer"))
        pictures: list[Frame] = list(clip)
    writer = VideoWriter(tmp_path / "out.mp4", clip=info, kind="color")
    for picture in pictures:
        writer.write(picture)
    writer.finish()
    assert probe(tmp_path / "out.mp4").frames == len(pictures)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_hdr10_goes_through_the_encoder(tmp_path: Path, suffix: str) -> None:
    source = make_hdr(tmp_path / "hdr.mp4")
    metadata = probe(source).metadata
    assert metadata.mastering_display is not None
    assert metadata.mastering_display.luminance == (Fraction(1, 10_000), 1000)
    assert metadata.content_light is not None
    assert (metadata.content_light.max_cll, metadata.content_light.max_fall) == (1000, 400)
    writer = write(source, tmp_path / f"out{suffix}")
    written = probe(tmp_path / f"out{suffix}").metadata
    assert written.content_light == metadata.content_light
    assert written.mastering_display is not None
    for one, other in zip(written.mastering_display.primaries, metadata.mastering_display.primaries, strict=True):
        assert one == pytest.approx(other, abs=2e-5)
    assert written.mastering_display.luminance == pytest.approx(metadata.mastering_display.luminance, rel=0.3)
    assert list(writer.notes) == []


def test_hdr10_is_named_where_the_encoder_has_no_way(tmp_path: Path) -> None:
    with open_clip(make_hdr(tmp_path / "hdr.mp4")) as clip:
        pictures = [picture.with_image(picture.image8) for picture in clip]
    writer = VideoWriter(tmp_path / "out.mp4", clip=clip.info, kind="color")
    for picture in pictures:
        writer.write(picture)
    writer.finish()
    assert list(writer.notes) == ["out.mp4 goes without the HDR10 metadata"]


def make_hdr(path: Path) -> Path:
    return make_clip(
        path,
        frames=4,
        codec="libx265",
        pix_fmt="yuv420p10le",
        color=ColorTags("bt2020", "smpte2084", "bt2020nc", "tv"),
        options={"x265-params": f"log-level=error:master-display={MASTERING}:max-cll=1000,400"},
    )


def test_timecode_counts() -> None:
    assert advanced("00:00:00:00", 25, Fraction(25)) == "00:00:01:00"
    assert advanced("23:59:59:24", 1, Fraction(25)) == "00:00:00:00"
    assert advanced("00:00:59:23", 1, Fraction(24000, 1001)) == "00:01:00:00"
    assert advanced("00:00:59;29", 1, NTSC) == "00:01:00;02"
    assert advanced("00:09:59;29", 1, NTSC) == "00:10:00;00"
    assert advanced("00:00:59;59", 1, 2 * NTSC) == "00:01:00;04"
    assert advanced("01:00:00;00", round(3600 * NTSC), NTSC) == "02:00:00;00"
    assert advanced("00:00:00;00", 1, Fraction(25)) is None


@given(
    st.integers(0, 24 * 60 * 60 * 30 - 1),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.sampled_from([NTSC, 2 * NTSC]),
)
def test_timecode_counts_in_steps_as_at_once(start: int, one: int, other: int, rate: Fraction) -> None:
    first = advanced("00:00:00;00", start, rate)
    assert first is not None
    step = advanced(first, one, rate)
    assert step is not None
    assert (
        advanced(step, other, rate)
        == advanced(first, one + other, rate)
        == advanced("00:00:00;00", start + one + other, rate)
    )
    minute, second, label = int(step[3:5]), int(step[6:8]), int(step[9:])
    assert not (minute % 10 and second == 0 and label < round(rate) // 15), "a label that is dropped"
