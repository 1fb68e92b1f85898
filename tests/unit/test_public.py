"""The public names."""

import copy
import os
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import trackmatte as tm
from tests.assets.make_assets import make_clip


def test_all_is_sorted_and_every_name_is_there():
    assert tm.__all__ == sorted(tm.__all__)
    for name in tm.__all__:
        assert getattr(tm, name) is not None


def test_dir_shows_what_there_is():
    assert dir(tm) == tm.__all__


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(tm, "nothing_of_the_kind")


def test_a_name_that_is_not_there_is_an_error_to_a_type_checker(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(
        "import trackmatte as tm\n\n\n"
        "def main(clip: tm.VideoReader, prompts: list[tm.Prompt], model: tm.Model) -> None:\n"
        "    for result in tm.track(clip, prompts, model=model):\n"
        "        print(result.masks.shape)\n"
        "    with tm.VideoWriter('a.mp4', clip=clip.info, kind='color') as video:\n"
        "        effect: tm.Effect = tm.parse_effect('blur')\n"
        "        for result in tm.track(clip, prompts, model=model, frames=True):\n"
        "            if result.frame is not None:\n"
        "                video.write(result.with_image(effect.apply(result.frame, result)))\n"
        "    with tm.SeparatePngWriter('out', names=('a',)) as folder:\n"
        "        folder.write(tm.ObjectMasks.of(next(iter(clip)), result.masks, ['a']))\n"
        "    tm.trakc(clip)\n"
    )
    found = subprocess.run([sys.executable, "-m", "mypy", str(script)], capture_output=True, text=True, check=False)
    errors = [line for line in found.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, found.stdout
    assert "trakc" in errors[0]


@pytest.mark.parametrize(
    ("clip", "prompts", "model", "words"),
    [
        ("a.mp4", [tm.Point(1, 1)], None, "give open_clip"),
        (None, [tm.Point(1, 1)], "nano", "give load_model"),
        (None, tm.Point(1, 1), None, "a list of prompts"),
        (None, [(1, 1)], None, "no prompt"),
    ],
)
def test_other_things_than_clips_prompts_and_models_are_named(clip, prompts, model, words):
    with pytest.raises(tm.UsageError, match=words):
        next(tm.track(clip, prompts, model=model))


def test_a_range_of_numbers_is_refused():
    with pytest.raises(tm.UsageError, match="from Time to Time"):
        tm.Range(0, 5)


@pytest.mark.parametrize(
    "given",
    [
        {"frame": 2.5},
        {"frame": -1},
        {"frame": True},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"seconds": "1.6"},
        {"frame": 1, "seconds": 1},
        {"name": 3},
    ],
)
def test_a_prompt_says_what_is_wrong_with_its_name_or_time(given):
    with pytest.raises(tm.UsageError, match=r"give|name is a text"):
        tm.Point(1, 1, **given)


def test_numbers_of_any_kind_are_times():
    assert tm.Point(1, 1, seconds=1.6).seconds == Fraction(8, 5)
    assert tm.Point(1, 1, seconds=2).seconds == 2
    assert tm.Box(1, 1, 2, 2, frame=np.int64(3)).frame == 3


def test_a_model_says_that_it_can_not_be_copied_or_forked():
    model = tm.load_model("nano", device="cpu")
    with pytest.raises(tm.ModelError, match="can't be copied"):
        copy.deepcopy(model)
    with pytest.raises(tm.ModelError, match="can't be copied"):
        pickle.dumps(model)
    child = os.fork()
    if child == 0:
        try:
            model.check_process()
        except tm.ModelError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_results_hold_their_pictures_where_asked(tmp_path):
    path = make_clip(tmp_path / "clip.mov", frames=4, size=(96, 64), rotation=90, pix_fmt="yuv420p10le")
    model = tm.load_model("nano", device="cpu")
    with tm.open_clip(path) as clip:
        frames = list(clip)
        assert frames[0].image.dtype == np.uint16
        plain = list(tm.track(clip, [tm.Box(10, 10, 40, 60)], model=model))
        results = list(tm.track(clip, [tm.Box(10, 10, 40, 60)], model=model, frames=True))
    assert [result.frame for result in plain] == [None] * 4
    for frame, one, other in zip(frames, plain, results, strict=True):
        assert other.frame.dtype == np.uint8
        assert other.frame.shape == (96, 64, 3)
        assert np.array_equal(other.frame, frame.image8)
        assert np.array_equal(one.masks, other.masks)
        assert (other.pts, other.duration) == (frame.pts, frame.duration)


def test_a_video_written_from_results_is_the_one_that_the_command_line_renders(trackmatte, tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=6, size=(96, 64), audio="aac", pts=[0, 3, 4, 9, 10, 20])
    model, effect = tm.load_model("nano", device="cpu"), tm.parse_effect("fill-background:#204060")
    with tm.open_clip(path) as clip, tm.VideoWriter(tmp_path / "a.mp4", clip=clip.info, kind="color") as video:
        for result in tm.track(clip, [tm.Box(10, 10, 40, 40)], model=model, frames=True):
            video.write(result.with_image(effect.apply(result.frame, result)))
    render = ["--render", "fill-background:#204060", tmp_path / "b.mp4"]
    assert trackmatte("track", path, "--box", "10,10,40,40", "--device", "cpu", *render).returncode == 0
    with tm.open_clip(tmp_path / "a.mp4") as one, tm.open_clip(tmp_path / "b.mp4") as other:
        assert one.info.audio == other.info.audio != ()
        for a, b in zip(one, other, strict=True):
            assert (a.pts_seconds, a.duration) == (b.pts_seconds, b.duration)
            assert np.array_equal(a.image, b.image)


def test_masks_from_elsewhere_are_rendered_and_written(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=3, size=(96, 64))
    with tm.open_clip(path) as clip, tm.IndexedPngWriter(tmp_path / "out", names=("left", "right")) as folder:
        for frame in clip:
            masks = np.zeros((2, 64, 96), bool)
            masks[0, :, :20], masks[1, :, 80:] = True, True
            result = tm.ObjectMasks.of(frame, masks, ("left", "right"))
            folder.write(result)
            picture = tm.parse_effect("fill:#ff0000").apply(frame.image, result)
            assert (picture[:, :20] == (255, 0, 0)).all()
            assert np.array_equal(picture[:, 20:80], frame.image[:, 20:80])
            assert np.array_equal(tm.matte(result) == 255, masks.any(axis=0))
            assert np.array_equal(tm.straight_alpha(frame.image, result)[..., 3] == 255, masks.any(axis=0))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert tm.ObjectMasks.of(frame, masks).names == ("1", "2")


def test_pictures_and_masks_that_do_not_fit_are_named():
    frame = tm.Frame(0, 0, Fraction(1, 25), np.zeros((4, 6, 3), np.uint8))
    masks = np.ones((1, 4, 6), bool)
    with pytest.raises(tm.UsageError, match=r"bool array \(O, 4, 6\).*uint8 \(1, 4, 6\)"):
        tm.ObjectMasks.of(frame, masks.astype(np.uint8))
    with pytest.raises(tm.UsageError, match="2 names for 1 masks"):
        tm.ObjectMasks.of(frame, masks, ("a", "b"))
    result, effect = tm.ObjectMasks.of(frame, masks), tm.parse_effect("blur")
    with pytest.raises(tm.UsageError, match="frames=True"):
        effect.apply(result.frame, result)
    with pytest.raises(tm.UsageError, match=r"\(5, 6, 3\).*\(4, 6\)"):
        effect.apply(np.zeros((5, 6, 3), np.uint8), result)


def test_the_public_writers_and_effects_do_not_import_torch():
    names = sorted(set(tm.__all__) - {"Model", "load_model"})
    code = f"import sys, trackmatte as tm; [getattr(tm, name) for name in {names}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
