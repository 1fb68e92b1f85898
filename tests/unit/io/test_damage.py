"""Files that can't be read, or not to their end: one clear sentence each, and intact files are never called damaged."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from tests.assets.make_assets import make_clip, make_images, make_sound, number
from trackmatte.errors import DamagedClipError, InputError
from trackmatte.io.decode import open_clip
from trackmatte.io.integrity import cut_short
from trackmatte.io.probe import probe
from trackmatte.types import Frame


def read_until_damage(path: Path) -> tuple[list[Frame], DamagedClipError]:
    frames: list[Frame] = []
    with pytest.raises(DamagedClipError) as caught, open_clip(path) as clip:
        frames.extend(clip)
    return frames, caught.value


def one_sentence(error: Exception, path: Path) -> str:
    message = str(error)
    assert str(path) in message
    assert "\n" not in message
    assert "Errno" not in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="doesn't exist") as caught:
        open_clip(tmp_path / "none.mp4")
    one_sentence(caught.value, tmp_path / "none.mp4")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.webm").touch()
    with pytest.raises(InputError, match=r"is empty \(0 bytes\)"):
        open_clip(tmp_path / "a.webm")


@pytest.mark.parametrize("content", [b"hello, this is a text\n" * 100, bytes(range(256)) * 64, b"\0" * 4096])
def test_not_a_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"not a video|no video stream|no frame can be decoded") as caught:
        open_clip(path)
    one_sentence(caught.value, path)


def test_no_video_stream(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.m4a")
    with pytest.raises(InputError, match="no video stream, only audio"):
        open_clip(path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=1)
    if os.geteuid() == 0:  # root may read anything, so the refusal is imitated

        def refuse(self: Path, *args: object, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    else:
        path.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        open_clip(path)


def test_a_device_is_not_a_clip() -> None:
    with pytest.raises(InputError, match="not a file"):
        open_clip("/dev/null")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_cut_with_the_index_in_front(tmp_path: Path, part: float) -> None:
    whole = make_clip(tmp_path / "a.mp4", frames=60, size=(320, 240))
    _move_index_to_front(whole, tmp_path / "front.mp4")
    data = (tmp_path / "front.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    start = data.index(b"mdat")
    path.write_bytes(data[: start + int((len(data) - start) * part)])
    frames, error = read_until_damage(path)
    assert 0 < len(frames) < 60
    assert error.good_frames == len(frames)
    assert [number(frame.image) for frame in frames] == list(range(len(frames)))
    assert f"after {len(frames)} good frames (the data end before the last of 60 frames)" in one_sentence(error, path)
    with open_clip(path, damaged="keep") as clip:
        assert len(list(clip)) >= len(frames)
        assert clip.damage is not None
        assert "of 60 frames" in clip.damage


def test_cut_with_the_index_lost(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.mp4", frames=30).read_bytes()  # the index is at its end
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"is cut off .*index is lost"):
        open_clip(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_cut_containers_that_state_their_size(tmp_path: Path, name: str, codec: str, part: float) -> None:
    data = make_clip(tmp_path / name, frames=60, codec=codec, size=(320, 240)).read_bytes()
    path = tmp_path / f"cut-{name}"
    path.write_bytes(data[: int(len(data) * part)])
    frames, error = read_until_damage(path)
    assert 0 < len(frames) < 60
    assert error.good_frames == len(frames)
    assert [number(frame.image) for frame in frames] == list(range(len(frames)))
    assert "are missing" in str(error)


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=48, gop=8, options={"bf": "0"})
    _overwrite_packet(path, 20)
    frames, error = read_until_damage(path)
    assert [number(frame.image) for frame in frames] == list(range(20))
    assert error.good_frames == 20
    assert error.exit_code == 3
    assert "after 20 good frames" in one_sentence(error, path)


@pytest.mark.parametrize("index", [44, 46, 47])
@pytest.mark.parametrize("damaged", ["stop", "keep"])
def test_damage_at_the_end_is_not_passed_over(tmp_path: Path, index: int, damaged: str) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=48, gop=48, options={"bf": "0"})
    _overwrite_packet(path, index)
    if damaged == "stop":
        frames, _ = read_until_damage(path)
        assert [number(frame.image) for frame in frames] == list(range(len(frames)))
        assert 20 < len(frames) <= index
    else:
        with open_clip(path, damaged="keep") as clip:
            assert 20 < len(list(clip)) < 48
            assert clip.damage is not None


def test_damage_kept(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=48, gop=8, options={"bf": "0"})
    _overwrite_packet(path, 20)
    with open_clip(path, damaged="keep") as clip:
        frames = list(clip)
        assert clip.damage is not None
        assert str(path) in clip.damage
        seen = [number(frame.image) for frame in frames]
        assert seen[:20] == list(range(20))
        assert seen[-24:] == list(range(24, 48))
        assert all(b.pts > a.pts for a, b in pairwise(frames))
        assert frames[-1].pts_seconds == frames[-1].time_base * frames[-1].pts
        assert round(frames[-1].pts_seconds * 25) == 47


@pytest.mark.parametrize(
    ("name", "codec", "audio"),
    [
        ("a.mp4", "libx264", "aac"),
        ("a.mov", "prores_ks", "pcm_s16le"),
        ("a.mkv", "libx264", "libopus"),
        ("a.webm", "libvpx-vp9", "libopus"),
        ("a.avi", "mpeg4", None),
        ("a.ts", "libx264", "aac"),
        ("a.mpg", "mpeg2video", None),
        ("a.mp4", "libx265", None),
    ],
)
@pytest.mark.parametrize("damaged", ["stop", "keep"])
def test_intact_files_are_not_called_damaged(
    tmp_path: Path, name: str, codec: str, audio: str | None, damaged: str
) -> None:
    pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    path = make_clip(tmp_path / name, frames=30, codec=codec, audio=audio, pix_fmt=pix_fmt)
    assert cut_short(path) is None
    with open_clip(path, damaged=damaged) as clip:  # type: ignore[arg-type]
        assert [number(frame.image) for frame in clip] == list(range(30))
        assert clip.damage is None


def test_fragmented_and_streamed_files_are_not_called_damaged(tmp_path: Path) -> None:
    import av

    source = make_clip(tmp_path / "a.mp4", frames=30, gop=10)
    for name, options in (("f.mp4", {"movflags": "frag_keyframe+empty_moov"}), ("l.mkv", {"live": "1"})):
        with av.open(str(source)) as whole, av.open(str(tmp_path / name), "w", options=options) as out:
            stream = out.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        with open_clip(tmp_path / name) as clip:
            assert [number(frame.image) for frame in clip] == list(range(30))
        assert probe(tmp_path / name).frames == 30


def test_damaged_sound_is_not_damage_of_the_picture(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=30, audio="aac")
    _overwrite_packet(path, 5, kind="audio")
    with open_clip(path) as clip:
        assert len(list(clip)) == 30


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="holds no images"):
        open_clip(tmp_path)


def test_folder_with_an_image_of_another_size(tmp_path: Path) -> None:
    make_images(tmp_path / "a", frames=2)
    make_images(tmp_path / "b", frames=1, size=(48, 32))
    shutil.copy(tmp_path / "b" / "frame1.png", tmp_path / "a" / "frame3.png")
    with (
        pytest.raises(InputError, match=r"frame3.png is 48x32, the images before it are 96x64"),
        open_clip(tmp_path / "a") as clip,
    ):
        list(clip)


def test_folder_with_a_damaged_image(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "a", frames=5)
    (folder / "frame3.png").write_bytes((folder / "frame3.png").read_bytes()[:200])
    frames, error = read_until_damage(folder)
    assert (len(frames), error.good_frames) == (2, 2)
    assert "frame3.png" in one_sentence(error, folder)
    with open_clip(folder, damaged="keep") as clip:
        assert [number(frame.image) for frame in clip] == [0, 1, 3, 4]
        assert clip.damage is not None
        assert "1 image could not be decoded" in clip.damage


def _move_index_to_front(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as whole, av.open(str(target), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


def _overwrite_packet(path: Path, index: int, *, kind: str = "video") -> None:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        packets = [(packet.pos, packet.size) for packet in container.demux(stream) if packet.size]
    at, size = packets[index]
    assert at is not None
    data = bytearray(path.read_bytes())
    data[at : at + size] = b"\xff" * size
    path.write_bytes(data)
