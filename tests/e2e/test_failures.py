"""Every failure: one line on stderr, its exit code, nothing left behind under any name."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.assets.make_assets import make_clip, make_images

BOX = ("--box", "10,10,40,40")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=12, size=(96, 64), audio="aac")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def check(result, code, *words):
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("trackmatte: ")
    for word in words:
        assert word in lines[0]
    assert result.stdout == ""


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["no prompt", "a point, a box or a mask"]),
        (("--box", "1,2,3"), ["1,2,3"]),
        (("--point", "nan,3"), ["nan,3"]),
        (("--point", "300,3"), ["300", "96x64"]),
        (("--box", "50,10,20,40"), ["50"]),
        (("--point", "a@500=10,10"), ["500"]),
        (("--point", "a@12=10,10", *BOX), ["12"]),
        (("--point", "a@99s=10,10"), ["99s"]),
        (("--negative", "10,10"), ["negative"]),
        (("--mask", "missing.png"), ["missing.png"]),
        (("--prompts", "missing.json"), ["missing.json"]),
        ((*BOX, "--model", "sam9"), ["sam9"]),
        ((*BOX, "--device", "cuda:x"), ["cuda:x", "cuda:1"]),
        ((*BOX, "--matte", ""), ["--matte", "empty"]),
        ((*BOX, "--only", "cat"), ["cat"]),
        ((*BOX, "--start", "5", "--end", "5"), ["after"]),
        ((*BOX, "--rate", "x"), ["x"]),
        ((*BOX, "--start", "12"), ["no frame"]),
        ((*BOX, "--point", "a@8=10,10", "--end", "8"), ["frame 8", "the end"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_prompts_and_options(trackmatte, clip, out, arguments, words):
    code = 4 if "--model" in arguments else 2
    check(trackmatte("track", clip, *arguments, "--matte", out / "m.mp4"), code, *words)
    assert not list(out.iterdir())


@pytest.mark.parametrize("size", [(96, 64), (50, 50)], ids=["empty", "another size"])
def test_masks(trackmatte, clip, out, tmp_path, size):
    image = np.zeros(size[::-1], np.uint8) if size == (96, 64) else np.full(size[::-1], 255, np.uint8)
    Image.fromarray(image).save(tmp_path / "mask.png")
    words = ["empty"] if size == (96, 64) else ["50x50", "96x64"]
    check(trackmatte("track", clip, "--mask", tmp_path / "mask.png", "--matte", out / "m.mp4"), 2, *words)
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (("--alpha", "a.mp4"), [".mov", ".webm", ".mkv"]),
        (("--alpha", "a.jpg"), [".mov"]),
        (("--matte", "m.avi"), [".mp4"]),
        (("--masks", "m.txt"), [".jsonl"]),
        (("--render", "sparkle", "r.mp4"), ["sparkle", "overlay"]),
        (("--render", "overlay", "r"), [".mp4"]),
        (("--render", "replace-background:nowhere.png", "r.mp4"), ["nowhere.png"]),
        (("--matte", "m.mp4", "--matte", "m.mp4"), ["m.mp4"]),
        ((), ["--masks", "--matte"]),
        (("--masks", "m.jsonl", "--separate"), ["--separate", "--masks DIR"]),
        (("--point", "a/b=10,10", "--masks", "m", "--separate"), ["'a/b'", "folder"]),
        (("--masks", "m", "--separate", "--matte", "m/1/x.mp4"), ["lies inside"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_outputs_asked_for_wrongly(trackmatte, clip, out, output, words):
    check(trackmatte("track", clip, *BOX, *output, cwd=out), 2, *words)
    assert not list(out.iterdir())


def test_an_output_over_the_clip_is_refused(trackmatte, clip):
    before = clip.read_bytes()
    check(trackmatte("track", clip, *BOX, "--render", "blur", clip, "--overwrite"), 2, "clip itself")
    assert clip.read_bytes() == before


@pytest.mark.parametrize("name", ["m.mp4", "m.jsonl", "m.json", "m"])
def test_an_existing_output_is_kept(trackmatte, clip, out, name):
    if name == "m":
        (out / name).mkdir()
        (out / name / "mine.txt").write_text("keep")
    else:
        (out / name).write_text("keep")
    option = "--matte" if name == "m.mp4" else "--masks"
    check(trackmatte("track", clip, *BOX, option, out / name), 5, name, "--overwrite")
    kept = out / name / "mine.txt" if name == "m" else out / name
    assert kept.read_text() == "keep"
    assert len(list(out.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(trackmatte, clip, out):
    out.chmod(0o500)
    check(trackmatte("track", clip, *BOX, "--matte", out / "m.mp4"), 5, "permission")


def test_an_output_below_a_file(trackmatte, clip, tmp_path):
    file = write(tmp_path / "file", b"x")
    check(trackmatte("track", clip, *BOX, "--matte", file / "m.mp4"), 5, "file")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("zero.mp4", b"", ["zero.mp4", "empty"]),
        ("text.mp4", b"this is no video at all\n" * 100, ["text.mp4"]),
        ("missing.mp4", None, ["missing.mp4"]),
    ],
)
def test_clips_that_cannot_be_opened(trackmatte, out, tmp_path, name, data, words):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    check(trackmatte("track", path, *BOX, "--matte", out / "m.mp4"), 3, *words)
    check(trackmatte("probe", path), 3, *words)
    assert not list(out.iterdir())


def test_a_folder_without_images(trackmatte, out, tmp_path):
    (tmp_path / "empty").mkdir()
    check(trackmatte("track", tmp_path / "empty", *BOX, "--matte", out / "m.mp4"), 3, "image")


@pytest.fixture(scope="module")
def truncated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truncated")
    whole = make_clip(folder / "whole.mkv", frames=60, size=(96, 64))
    data = whole.read_bytes()
    return write(folder / "truncated.mkv", data[: int(len(data) * 0.6)])


def test_a_truncated_clip_stops_with_the_number_of_good_frames(trackmatte, truncated, out):
    result = trackmatte("track", truncated, *BOX, "--matte", out / "m.mp4", "--masks", out / "m.jsonl")
    check(result, 3, "frames", "--damaged keep")
    assert not list(out.iterdir())


def test_a_truncated_clip_can_be_kept(trackmatte, truncated, out):
    result = trackmatte("track", truncated, *BOX, "--matte", out / "m.mp4", "--damaged", "keep", "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert 0 < summary["frames"] < 60
    assert str(summary["frames"]) in summary["damage"]
    assert "warning" in result.stderr
    assert [path.name for path in out.iterdir()] == ["m.mp4"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("w.pt", b"<!DOCTYPE html><html>404</html>"), ("w.safetensors", b"\x00" * 64), ("w.pt", b"")],
    ids=["a web page", "zeros", "empty"],
)
def test_wrong_weights(trackmatte, clip, out, tmp_path, name, data):
    weights = write(tmp_path / name, data)
    check(trackmatte("track", clip, *BOX, "--matte", out / "m.mp4", "--checkpoint", weights), 4, name)
    assert not list(out.iterdir())


def test_weights_that_are_not_there_offline(trackmatte, clip, out, tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = trackmatte("track", clip, *BOX, "--matte", out / "m.mp4", "--model", "sam2.1-tiny", env=environment)
    check(result, 4, "sam2.1_hiera_tiny.pt", str(tmp_path / "hub"), "--checkpoint")
    assert not list(out.iterdir())


def test_debug_shows_the_traceback(trackmatte, out):
    result = trackmatte("--debug", "track", out / "missing.mp4", *BOX, "--matte", out / "m.mp4")
    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_what_pillow_thinks_of_images_is_not_printed(trackmatte, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    image.save(folder / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01")
    image.quantize(64).save(folder / "b.png", transparency=bytes(range(64)))
    Image.new("L", (9500, 9500), 255).save(tmp_path / "large.png")  # Pillow warns of it, and is right to
    result = trackmatte("track", folder, "--mask", tmp_path / "large.png", "--masks", tmp_path / "m.jsonl")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    result = trackmatte("track", folder, "--box=-5,-5,40,40", "--masks", tmp_path / "m.jsonl")
    assert (result.returncode, result.stderr) == (0, "")


def test_outputs_inside_one_another_are_refused_at_once(trackmatte, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=3)
    result = trackmatte(
        "track", clip, "--box", "10,10,40,40", "--masks", tmp_path / "o", "--matte", tmp_path / "o/m.mp4"
    )
    assert result.returncode == 2
    assert "lies inside the output" in result.stderr
    assert not (tmp_path / "o").exists()


def test_a_folder_for_a_folder_clip_can_be_written_again(trackmatte, tmp_path):
    make_images(tmp_path / "clip", frames=3)
    for _ in range(2):
        result = trackmatte(
            "track", tmp_path / "clip", "--box", "10,10,40,40", "--masks", tmp_path / "o", "--overwrite", "--quiet"
        )
        assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "o").glob("frame*.png"))) == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [("--help",), ("probe", "clip.mp4"), ("probe", "clip.mp4", "--json"), ("models",)]
)
def test_what_can_not_be_printed_is_told(clip, arguments):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "trackmatte", *arguments]
        result = subprocess.run(command, cwd=clip.parent, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 5, result.stderr
    assert result.stderr.startswith("trackmatte: the result can't be printed (No space left on device)")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits addresses")
def test_too_little_memory_is_told(clip, out):
    import resource

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (300_000_000, 300_000_000))

    command = [sys.executable, "-m", "trackmatte", "track", clip, *BOX, "--matte", out / "m.mp4"]
    result = subprocess.run(command, preexec_fn=limited, capture_output=True, text=True, check=False)
    check(result, 4, "too little memory: ", "the limit on addresses is 300 MB", "smaller clip")
    assert list(out.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that is in use can be removed")
def test_a_working_folder_that_is_gone_is_told(clip, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    program = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])\n"
    program += "from trackmatte.cli import main; main(sys.argv[2:])"
    command = [sys.executable, "-c", program, gone, "track", clip, *BOX, "--matte", "m.mp4"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    check(result, 5, "m.mp4", "no longer there")


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_what_a_killed_run_left_is_named_and_removed(trackmatte, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=2000, size=(320, 240))
    command = [sys.executable, "-m", "trackmatte", "track", clip, *BOX, "--masks", tmp_path / "t.jsonl"]
    run = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 2000 for path in tmp_path.glob(".t.jsonl*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.kill()
    run.wait()
    (left,) = tmp_path.glob(".t.jsonl*")
    result = trackmatte("track", clip, *BOX, "--end", "2", "--masks", tmp_path / "t.jsonl", "--json")
    assert result.returncode == 0, result.stderr
    assert result.stderr == f"trackmatte: warning: removed {left}, left by a run that was killed\n"
    assert json.loads(result.stdout)["notes"] == [f"removed {left}, left by a run that was killed"]
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "t.jsonl"}
