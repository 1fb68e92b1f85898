"""Timestamps put right: one wrong one moves one frame, a clock that jumps goes on, clips begin at 0."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.assets.make_assets import make_clip, number
from trackmatte.errors import InputError, UsageError
from trackmatte.io.decode import open_clip
from trackmatte.io.encode import VideoWriter
from trackmatte.io.probe import probe
from trackmatte.io.timing import Moves, retimed


@pytest.mark.parametrize(
    ("times", "right"),
    [
        ([0, 40, 80, 30000, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 40, 80, 80, 120, 160], [0, 40, 80, 100, 120, 160]),
        ([0, 40, 80, 10, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([0, 40, None, 120, 160], [0, 40, 80, 120, 160]),
        ([0, 40, 30000, 30040, 160, 200], [0, 40, 80, 120, 160, 200]),
        ([30000, 40, 80, 120], [0, 40, 80, 120]),
        ([*range(0, 200, 40), *range(30000, 30280, 40), *range(480, 1200, 40)], [*range(0, 1200, 40)]),
        ([0, 0, 40, 40, 80, 80], [0, 20, 40, 60, 80, 120]),
        ([0, 40, 5000, 5040, 9000], [0, 40, 5000, 5040, 9000]),
        ([None, None, None], [0, 40, 80]),
    ],
)
def test_only_the_wrong_times_move(times: list[int | None], right: list[int]) -> None:
    moves = Moves()
    assert [time for _, time in retimed(times, lambda time: time, step=40, moves=moves)] == right
    assert moves.moved == sum(one != other for one, other in zip(times, right, strict=True))


def test_joined_recordings_are_one_clip(tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", frames=50, codec="mpeg2video", audio="mp2", options={"b": "4M"})
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 3)
    with open_clip(joined) as clip:
        frames = list(clip)
        assert clip.damage is None
        assert any("clock jumps" in note for note in clip.info.notes)
    assert [number(frame.image) for frame in frames] == [*range(50)] * 3
    steps = [b.pts_seconds - a.pts_seconds for a, b in itertools.pairwise(frames)]
    assert max(steps) < Fraction(3, 25)
    assert _packets(_copy(joined, tmp_path / "a.mkv"), "audio") == 3 * _packets(part, "audio")


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("start", [-25, 250_000])
def test_clips_that_begin_below_0_or_hours_in_are_written_from_0(tmp_path: Path, suffix: str, start: int) -> None:
    clip = make_clip(
        tmp_path / "a.ts",
        codec="mpeg2video",
        pts=range(start, start + 50),
        frames=50,
        time_base=Fraction(1, 25),
        audio="mp2",
    )
    info = probe(clip)
    assert info.zero_seconds <= info.start_seconds
    assert "videos are written from 0" in " ".join(info.notes)
    with av.open(str(_copy(clip, tmp_path / f"b.{suffix}"))) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0) if frame.pts is not None]
    assert len(times) == 50
    assert 0 <= times[0] < Fraction(1, 10)


def test_the_start_is_kept_on_demand(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.nut", codec="mpeg4", pts=range(500, 510), frames=10, time_base=Fraction(1, 25))
    kept = _copy(clip, tmp_path / "b.mp4", keep_start=True)
    assert probe(kept).start_seconds == 20
    assert probe(_copy(clip, tmp_path / "c.mp4")).start_seconds == 0


def test_frames_that_are_not_shown_are_not_counted(tmp_path: Path) -> None:
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k", "deadline": "good"}
    for codec in ("libvpx-vp9", "libvpx"):
        info = probe(make_clip(tmp_path / f"{codec}.webm", frames=60, codec=codec, options=options))
        assert info.frames == 60
        assert info.variable_rate is False


def test_a_path_is_a_file_whatever_its_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "cam:1.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    with open_clip("cam:1.mp4") as clip:
        assert len(list(clip)) == 3


@pytest.mark.parametrize("text", ["#EXTM3U\na.mp4\n", "ffconcat version 1.0\nfile a.mp4\n"])
def test_playlists_are_refused(tmp_path: Path, text: str) -> None:
    make_clip(tmp_path / "a.mp4", frames=3)
    for name in ("list.m3u8", "list.mp4"):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="playlist"):
            open_clip(tmp_path / name)


def test_the_larger_stream_is_read_or_the_one_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, ((64, 48), (128, 96)), strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(5):
            for stream in streams:
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    with open_clip(path) as clip:
        assert {frame.width for frame in clip} == {128}
        assert "--stream" in clip.info.notes[0]
    with open_clip(path, stream=0) as clip:
        assert {frame.width for frame in clip} == {64}
    with pytest.raises(UsageError, match="streams are 0, 1"):
        open_clip(path, stream=7)


def test_a_clip_closed_while_it_is_read_says_so(tmp_path: Path) -> None:
    clip = open_clip(make_clip(tmp_path / "a.mp4", frames=10))
    frames = iter(clip)
    next(frames)
    clip.close()
    with pytest.raises(UsageError, match="closed while it was being read"):
        list(frames)


def test_a_clip_that_is_moved_stays_readable_and_one_cut_short_does_not_end_silently(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=200, options={"crf": "1"})
    with open_clip(path) as clip:
        frames = iter(clip)
        next(frames)
        path.rename(tmp_path / "b.mkv")
        assert len(list(frames)) == 199
    with open_clip(tmp_path / "b.mkv", damaged="keep") as clip:
        frames = iter(clip)
        next(frames)
        with (tmp_path / "b.mkv").open("r+b") as file:
            file.truncate(file.seek(0, 2) * 9 // 10)
        list(frames)
        assert clip.damage is not None


def test_milliseconds_are_too_coarse_for_a_fast_camera(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", frames=5, rate=Fraction(2000)))
    with pytest.raises(UsageError, match="counts in milliseconds"):
        VideoWriter(tmp_path / "b.mkv", clip=info, kind="color")


def _copy(source: Path, target: Path, *, keep_start: bool = False) -> Path:
    with open_clip(source) as clip:
        writer = VideoWriter(target, clip=clip.info, kind="color", keep_start=keep_start)
        for frame in clip:
            writer.write(frame)
        writer.finish()
    return target


def _packets(path: Path, kind: str) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(**{kind: 0}))


def test_an_empty_name_is_said_to_be_one() -> None:
    with pytest.raises(InputError, match="name is empty"):
        open_clip("")
