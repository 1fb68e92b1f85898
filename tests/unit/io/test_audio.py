"""Sound in written videos: copied or encoded again, in sync, cut to fit, never a reason to lose the pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.assets.make_assets import SAMPLE_RATE, make_clip
from tests.unit.io.written import Written, clip_info, frames, onset, sound
from trackmatte.io.decode import open_clip
from trackmatte.io.encode import VideoWriter
from trackmatte.io.opening import open_container
from trackmatte.types import AudioInfo, Frame

TOLERANCE = 0.004  # seconds; a packet is 0.02, the priming of an encoder at least 0.0065


def make_source(path: Path, *, audio: str = "aac", seconds: int = 3, first: int = 0) -> Path:
    """A clip of 25 frames a second that beeps for 100 ms at each whole second, from second 0 on."""
    return make_clip(path, frames=25 * seconds, audio=audio, pts=range(first, first + 25 * seconds))


def write(source: Path, output: Path, pictures: list[Frame], **options: object) -> VideoWriter:
    with open_container(source) as container:
        audio = tuple(AudioInfo(a.codec_context.name, a.rate, a.layout.nb_channels) for a in container.streams.audio)
    options = {"kind": "color", **options}
    writer = VideoWriter(output, clip=clip_info(source, audio=audio), **options)  # type: ignore[arg-type]
    for picture in pictures:
        writer.write(picture)
    writer.finish()
    return writer


def beeps(path: Path) -> list[float]:
    """The starts of all beeps, in seconds."""
    wave, rate = sound(path)
    loud = np.flatnonzero(np.abs(wave) > 0.2)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > rate // 4)]
    return [float(start) / rate for start in starts]


def test_text_that_is_not_utf8_is_no_reason_to_fail(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mkv", seconds=1)
    with av.open(str(source)) as whole, av.open(str(tmp_path / "named.mkv"), "w") as named:
        targets = {stream.index: named.add_stream_from_template(stream) for stream in whole.streams}
        for target in targets.values():
            target.metadata["title"] = "Gr\u00fc\u00dfe"
        for packet in whole.demux():
            if packet.size:
                packet.stream = targets[packet.stream_index]
                named.mux(packet)
    expected = beeps(source)
    latin = (tmp_path / "named.mkv").read_bytes().replace("\u00fc\u00df".encode(), b"\xfc\xdf\xfc\xdf")
    source.write_bytes(latin)
    with open_clip(source) as clip:
        pictures = list(clip)
    assert write(source, tmp_path / "out.mp4", pictures).notes == []
    assert beeps(tmp_path / "out.mp4") == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_aac_is_copied_bit_by_bit(tmp_path: Path, suffix: str) -> None:
    source = make_source(tmp_path / "source.mp4")
    output = tmp_path / f"out{suffix}"
    write(source, output, frames(75))

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    expected, got = packets(source), packets(output)
    if suffix == ".mkv":  # the priming packet, before time zero, goes where FFmpeg's release can't declare it there
        assert got in (expected, expected[1:])
    else:
        assert got == expected


@pytest.mark.parametrize(
    ("suffix", "audio", "expected"),
    [
        (".mp4", "aac", "aac"),
        (".mov", "aac", "aac"),
        (".mkv", "aac", "aac"),
        (".webm", "aac", "opus"),
        (".webm", "libopus", "opus"),
        (".mov", "pcm_s16le", "pcm_s16le"),
        (".mp4", "pcm_s16le", "aac"),
        (".mkv", "pcm_s16le", "pcm_s16le"),
        (".mov", "libopus", "aac"),
    ],
)
def test_beeps_stay_where_they_are(tmp_path: Path, suffix: str, audio: str, expected: str) -> None:
    source = make_source(tmp_path / "source.mkv", audio=audio)
    output = tmp_path / f"out{suffix}"
    writer = write(source, output, frames(75))
    assert writer.notes == []
    assert [stream.codec for stream in Written(output, keep=False).audio] == [expected]
    before, after = beeps(source), beeps(output)
    assert len(before) == len(after) == 3
    assert after[1:] == pytest.approx(before[1:], abs=TOLERANCE)
    assert after[0] == pytest.approx(before[0], abs=0.03)  # an AAC packet before zero may be missing


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_part_of_a_clip_has_the_part_of_the_sound(tmp_path: Path, suffix: str) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=8)
    part = frames(200)[130:165]  # 5.2 s to 6.6 s
    output = tmp_path / f"out{suffix}"
    write(source, output, part, trim=True)
    back = Written(output, keep=False)
    assert back.seconds[0] == 0
    assert len(back.seconds) == 35
    assert beeps(output) == pytest.approx([0.8], abs=TOLERANCE)
    wave, rate = sound(output)
    assert len(wave) / rate == pytest.approx(1.4, abs=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_late_start_is_kept_with_its_sound(tmp_path: Path, suffix: str) -> None:
    source = make_source(tmp_path / "source.mkv", audio="libopus", first=30)
    output = tmp_path / f"out{suffix}"
    write(source, output, frames(times=[512 * (30 + i) for i in range(75)]))
    assert Written(output, keep=False).seconds[0] == Fraction(6, 5)
    assert beeps(output) == pytest.approx([2.0, 3.0, 4.0], abs=TOLERANCE)


def test_sound_longer_and_shorter_than_the_pictures(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=3)
    write(source, tmp_path / "short.mp4", frames(25))
    wave, rate = sound(tmp_path / "short.mp4")
    assert len(wave) / rate == pytest.approx(3, abs=0.05)
    write(source, tmp_path / "long.mp4", frames(200))
    assert len(Written(tmp_path / "long.mp4", keep=False).seconds) == 200
    wave, rate = sound(tmp_path / "long.mp4")
    assert len(wave) / rate == pytest.approx(3, abs=0.05)


def test_all_streams_come_along_with_their_languages(tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    with av.open(str(source), "w") as container:
        streams = [container.add_stream(codec, rate=SAMPLE_RATE) for codec in ("aac", "libopus")]
        for stream, language in zip(streams, ("ger", "fre"), strict=True):
            stream.layout = "mono"
            stream.metadata["language"] = language
        for at in range(0, SAMPLE_RATE, 960):
            for stream in streams:
                block = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
                container.mux(stream.encode(block))
        for stream in streams:
            container.mux(stream.encode(None))
    write(source, tmp_path / "out.webm", frames(25))
    back = Written(tmp_path / "out.webm", keep=False)
    assert [stream.codec for stream in back.audio] == ["opus", "opus"]
    assert back.languages == ["ger", "fre"]


def test_sound_lies_between_the_pictures(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=30)  # longer than what the muxer itself sorts, 10 s
    write(source, tmp_path / "out.mkv", frames(750))
    last = {"video": 0.0, "audio": 0.0}
    apart = 0.0
    with av.open(str(tmp_path / "out.mkv")) as container:
        for packet in container.demux():
            if packet.dts is not None and packet.time_base is not None:
                last[packet.stream.type] = float(packet.dts * packet.time_base)
                apart = max(apart, abs(last["video"] - last["audio"]))
    assert apart < 0.5


def test_a_matte_is_silent(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=1)
    mattes = [frame.with_image(np.zeros((64, 96), np.uint8)) for frame in frames(5)]
    write(source, tmp_path / "out.mp4", mattes, kind="matte")
    assert Written(tmp_path / "out.mp4").audio == ()


def test_no_sound_where_none_is_wanted(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=1)
    write(source, tmp_path / "out.mp4", frames(5), audio=False)
    assert Written(tmp_path / "out.mp4").audio == ()


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_damaged_sound_leaves_the_pictures_whole(tmp_path: Path, suffix: str) -> None:
    source = make_source(tmp_path / "source.mkv", audio="libopus", seconds=4)
    damage_sound(source)
    output = tmp_path / f"out{suffix}"
    write(source, output, frames(100))
    assert len(Written(output, keep=False).seconds) == 100


def test_damaged_sound_that_is_encoded_again_is_told(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=4)
    damage_sound(source)
    writer = write(source, tmp_path / "out.webm", frames(100))
    assert len(Written(tmp_path / "out.webm", keep=False).seconds) == 100
    assert any("sound" in note for note in writer.notes)
    late = [beep for beep in beeps(tmp_path / "out.webm") if beep > 2.5]
    assert late == pytest.approx([3.0], abs=TOLERANCE)


def damage_sound(path: Path) -> None:
    """Overwrites the sound packets of the second from 1.2 s on with noise of the same size."""
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(1)
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.size > 8 and packet.pts is not None and packet.time_base is not None:
                at = data.find(bytes(packet))
                if 1.2 < packet.pts * packet.time_base < 2.2 and at >= 0:
                    data[at : at + packet.size] = noise.bytes(packet.size)
    path.write_bytes(data)


def test_a_source_that_is_gone_is_told(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=1)
    clip = clip_info(source, audio=(AudioInfo("aac", SAMPLE_RATE, 1),))
    source.unlink()
    writer = VideoWriter(tmp_path / "out.mp4", clip=clip, kind="color")
    for frame in frames(5):
        writer.write(frame)
    writer.finish()
    assert len(Written(tmp_path / "out.mp4").seconds) == 5
    assert len(writer.notes) == 1
    assert "can't be read" in writer.notes[0]


def test_a_source_that_is_moved_meanwhile_keeps_its_sound(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", seconds=1)
    clip = clip_info(source, audio=(AudioInfo("aac", SAMPLE_RATE, 1),))
    writer = VideoWriter(tmp_path / "out.mp4", clip=clip, kind="color")
    source.rename(tmp_path / "moved.mp4")
    for frame in frames(5):
        writer.write(frame)
    writer.finish()
    assert writer.notes == []
    assert beeps(tmp_path / "out.mp4") == pytest.approx([0], abs=TOLERANCE)


def joined(path: Path, *sounds: str | None) -> Path:
    """Recordings of two seconds, one behind the other, as a transport stream."""
    parts = [make_clip(path.parent / f"part{i}.ts", frames=50, audio=sound) for i, sound in enumerate(sounds)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_begins_late_is_kept(tmp_path: Path, suffix: str) -> None:
    source = joined(tmp_path / "late.ts", None, "aac")
    with open_clip(source) as clip:
        pictures, info = list(clip), clip.info
    writer = VideoWriter(tmp_path / f"out{suffix}", clip=info, kind="color")
    for picture in pictures:
        writer.write(picture)
    writer.finish()
    assert len(Written(tmp_path / f"out{suffix}").seconds) == 100
    assert writer.notes == []
    first, second = beeps(tmp_path / f"out{suffix}")
    assert second - first == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_changes_its_codec_costs_no_picture(tmp_path: Path, suffix: str) -> None:
    source = joined(tmp_path / "changes.ts", "aac", "ac3")
    with open_clip(source) as clip:
        pictures, info = list(clip), clip.info
    writer = VideoWriter(tmp_path / f"out{suffix}", clip=info, kind="color")
    for picture in pictures:
        writer.write(picture)
    writer.finish()
    assert len(Written(tmp_path / f"out{suffix}").seconds) == 100
    assert len(writer.notes) == 1
    assert writer.notes[0].startswith("sound that the container can't take was left out")
    assert len(beeps(tmp_path / f"out{suffix}")) == 2


def test_onset_tells_silence_from_sound() -> None:
    assert onset(np.r_[np.zeros(480), np.ones(10)], 48000) == pytest.approx(0.01)
    assert np.isnan(onset(np.zeros(10), 48000))
