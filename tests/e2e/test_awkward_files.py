"""Awkward real files through the whole job: `pytest -m slow tests/e2e/test_awkward_files.py` (needs ../shared)."""

import json
from fractions import Fraction

import av
import pytest

import trackmatte as tm
from tests.shared_data import shared

pytestmark = pytest.mark.slow

WHOLE = [
    "bear-vp9-odd-dimensions.webm",
    "bitmap.mp4",
    "bt709_full_range.mp4",
    "cursed-vfr.mp4",
    "h265_10bits.mp4",
    "hlg10-color-test.mp4",
    "interlaced_tff.mpg",
    "no-initial-keyframe.ts",
    "rotate-buck-bunny.mp4",
    "sar_2x1.mp4",
    "transparent.webm",
    "video_90.mov",
]


def times_and_size(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return [frame.pts * stream.time_base for frame in frames], (frames[0].width, frames[0].height)


@pytest.mark.parametrize("name", WHOLE)
def test_every_frame_comes_back_at_its_time(trackmatte, tmp_path, name):
    clip = shared(f"io/{name}")
    info = tm.probe(clip)
    with tm.open_clip(clip) as reader:
        source = [frame.pts_seconds for frame in reader]
    outputs = [tmp_path / name for name in ("r.mp4", "r.mkv", "r.webm", "a.mov", "a.webm", "m.mp4")]
    options = ["--render", "blur", outputs[0], "--render", "overlay", outputs[1], "--render", "outline", outputs[2]]
    options += ["--alpha", outputs[3], "--alpha", outputs[4], "--matte", outputs[5], "--masks", tmp_path / "png"]
    click = f"{info.width / 2},{info.height / 2}"
    result = trackmatte("track", clip, "--point", click, *options, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == len(source)
    assert len(list((tmp_path / "png").iterdir())) == len(source)
    for path in outputs:
        times, size = times_and_size(path)
        assert size == (info.width, info.height), path.name
        tick = Fraction(1, 1000) if path.suffix in {".mkv", ".webm"} else 0
        assert len(times) == len(source), path.name
        assert all(abs(a - b) <= tick for a, b in zip(times, source, strict=True)), path.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zero_bytes.webm", ["empty"]),
        ("corrupted.mp4", ["28", "--damaged keep"]),
        ("truncated_01_dog.mp4", ["frames", "--damaged keep"]),
    ],
)
def test_damaged_files_stop_in_one_sentence(trackmatte, tmp_path, name, words):
    result = trackmatte("track", shared(f"io/{name}"), "--point", "100,100", "--matte", tmp_path / "m.mp4")
    assert result.returncode == 3
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr
    assert not list(tmp_path.iterdir())
