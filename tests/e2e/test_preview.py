"""`trackmatte preview`: the frame asked for, as the tracker sees it, and the masks that tracking would begin with."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import trackmatte as tm
from tests.assets.make_assets import make_clip, make_images, number
from trackmatte.preview import seed_masks
from trackmatte.runs import ModelOptions


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=30, size=(640, 360))


def shown(path, width, height):
    """The frame in a preview, without the ruler."""
    with Image.open(path) as image:
        assert image.mode == "RGB"
        picture = np.asarray(image)
    assert picture.shape[0] > height
    assert picture.shape[1] > width
    return picture[:height, :width]


@pytest.mark.parametrize(("time", "index"), [("0", 0), ("12", 12), ("0.5s", 13), ("29", 29)])
def test_the_frame_asked_for(trackmatte, clip, tmp_path, time, index):
    result = trackmatte("preview", clip, "--frame", time, tmp_path / "new" / "out.png")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"frame {index} at {index / 25:.3f} s, 640x360" in result.stdout
    assert number(shown(tmp_path / "new" / "out.png", 640, 360)) == index
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.png"]


def test_a_turned_clip_with_wide_pixels_is_shown_as_displayed(trackmatte, tmp_path):
    clip = make_clip(tmp_path / "clip.mov", frames=3, size=(320, 240), rotation=90, sar=Fraction(2))
    assert trackmatte("preview", clip, tmp_path / "out.png").returncode == 0
    with tm.open_clip(clip) as reader:
        frame = next(iter(reader))
    assert (frame.width, frame.height) == (240, 640)
    picture = shown(tmp_path / "out.png", 240, 640)
    assert np.array_equal(picture[:48, :48], frame.image[:48, :48])
    assert (picture == frame.image).mean() > 0.9


def test_without_seeds_torch_is_not_imported(clip, tmp_path):
    code = (
        "import sys, trackmatte.cli as cli\n"
        f"try: cli.main(['preview', {str(clip)!r}, {str(tmp_path / 'out.png')!r}])\n"
        "except SystemExit as end: sys.exit(end.code or int('torch' in sys.modules) * 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
    assert (tmp_path / "out.png").exists()


def test_the_masks_are_those_that_tracking_begins_with(sample):
    prompts = [tm.Point(450, 420, name="bunny", frame=40), tm.Box(800, 265, 1155, 430, name="stones", frame=40)]
    model = ModelOptions(device="cpu")
    span = tm.Range(tm.Time(frame=40), tm.Time(frame=41))
    with tm.open_clip(sample) as clip:
        frame = next(frame for frame in clip if frame.index == 40)
        tracked = next(tm.track(clip, prompts, model=model.load(), span=span))
    masks = seed_masks(frame, prompts, model)
    assert masks.names == tracked.names
    assert np.array_equal(masks.masks, tracked.masks)
    assert masks.present.all()


def test_seeds_of_the_frame_are_shown_and_others_are_left_out(trackmatte, sample, tmp_path):
    seeds = ["--point", "bunny=450,420", "--negative", "bunny@1.6s=600,500", "--box", "stones@99=800,265,1155,430"]
    result = trackmatte("preview", sample, "--frame", 40, *seeds, tmp_path / "out.png")
    assert result.returncode == 0
    assert result.stderr.strip() == "trackmatte: warning: seeds of other times are left out, of object 'stones'"
    line = next(line for line in result.stdout.splitlines() if line.startswith("object bunny: "))
    share, box = line.split(": ")[1].split("% of the picture, in the box ")
    x0, y0, x1, y1 = map(int, box.split(","))
    assert 5 < float(share) < 30
    assert x0 < 450 < x1
    assert y0 < 420 < y1
    with tm.open_clip(sample) as clip:
        frame = next(frame for frame in clip if frame.index == 40)
    changed = (shown(tmp_path / "out.png", 1280, 720) != frame.image).all(axis=2)
    assert changed[390:410, 460:490].mean() > 0.9  # the tint
    assert changed[620:690, 1010:1090].mean() < 0.1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--frame", "500", "out.png"), 2, ["frame 500 lies after the end", "30 frames"]),
        (("--frame", "30", "out.png"), 2, ["frame 30 lies after the end", "frame 29"]),
        (("--frame", "1.2s", "out.png"), 2, ["1.2s lies after the end", "1.160 s"]),
        (("--frame", "x", "out.png"), 2, ["'x'", "1.6s"]),
        (("out.jpg",), 2, ["out.jpg", ".png"]),
        (("out",), 2, ["out", ".png"]),
        (("--point", "a@7=10,10", "out.png"), 2, ["frame 0", "--frame"]),
        (("--point", "700,10", "out.png"), 2, ["700", "640x360"]),
        (("--negative", "7,10", "out.png"), 2, ["negative"]),
        (("--box", "1,1,9,9", "--model", "sam9", "out.png"), 4, ["sam9"]),
        (("there.png",), 5, ["there.png exists", "--overwrite"]),
        (("--stream", "4", "out.png"), 2, ["stream 4"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_can_not_be_done_is_one_line_and_leaves_nothing(trackmatte, clip, tmp_path, arguments, code, words):
    (tmp_path / "there.png").write_text("mine")
    result = trackmatte("preview", clip, *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]
    assert (tmp_path / "there.png").read_text() == "mine"


def test_overwriting(trackmatte, clip, tmp_path):
    (tmp_path / "out.png").write_text("old")
    assert trackmatte("preview", clip, tmp_path / "out.png", "--overwrite").returncode == 0
    assert number(shown(tmp_path / "out.png", 640, 360)) == 0


def test_a_picture_of_the_clip_itself_is_never_written(trackmatte, tmp_path):
    folder = make_images(tmp_path / "clip", frames=2)
    before = (folder / "frame1.png").read_bytes()
    for name in ("frame1.png", "new.png"):
        result = trackmatte("preview", folder, folder / name, "--overwrite")
        assert result.returncode == 2
        assert "one of the clip's own" in result.stderr
    assert (folder / "frame1.png").read_bytes() == before
    assert len(list(folder.iterdir())) == 2
