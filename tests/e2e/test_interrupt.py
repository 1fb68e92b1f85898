"""Ctrl-C and SIGTERM end a run promptly, with the right code and no stray file."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.assets.make_assets import make_clip
from trackmatte.io.probe import probe

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def _heed_interrupts():
    """A test runner in the background hands down that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _size(path):
    """0 of what is gone: outputs are opened and removed once, before the model is loaded."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "trackmatte: interrupted; nothing was written"),
        (signal.SIGTERM, 143, "trackmatte: terminated; nothing was written"),
        (signal.SIGHUP, 129, "trackmatte: terminated; nothing was written"),
    ],
)
def test_signals(tmp_path, number, code, message):
    clip = make_clip(tmp_path / "clip.mp4", frames=600, size=(320, 240), audio="aac")
    out = tmp_path / "out"
    out.mkdir()
    outputs = ["--matte", out / "m.mp4", "--masks", out / "t.jsonl", "--masks", out / "png"]
    outputs += ["--alpha", out / "a.mov", "--render", "blur", out / "r.mp4"]
    command = [sys.executable, "-m", "trackmatte", "track", clip, "--box", "40,40,160,160", *outputs]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(_size(path) > 2000 for path in out.rglob("*t.jsonl*")):
            break
        time.sleep(0.05)
    assert process.poll() is None, "the run ended before it could be interrupted"
    process.send_signal(number)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - sent < 20
    assert process.returncode == code, errors
    assert errors.strip() == message
    assert not list(out.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="a shell closes streams")
@pytest.mark.parametrize("closed", [">&-", "<&-", ">/dev/full"])
def test_a_complete_run_is_one_whatever_becomes_of_its_summary(tmp_path, closed):
    clip = make_clip(tmp_path / "clip.mp4", frames=3)
    command = f"{sys.executable} -m trackmatte track clip.mp4 --box 10,10,40,40 --matte m.mp4 --masks t.jsonl {closed}"
    result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "m.mp4").stat().st_size > 500
    assert ("all outputs are written" in result.stderr) == (closed == ">/dev/full")
    assert probe(clip).frames == probe(tmp_path / "m.mp4").frames


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_what_can_not_be_said_on_stderr_changes_no_exit_code(tmp_path):
    make_clip(tmp_path / "clip.mkv", frames=3, stream_tags={"timecode": "none"})
    command = (
        f"{sys.executable} -m trackmatte track clip.mkv --box 10,10,40,40 --render blur r.mov >/dev/full 2>/dev/full"
    )
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "r.mov").exists()
    command = f"{sys.executable} -m trackmatte track clip.mkv --matte m.mp4 2>/dev/full"
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 2


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="needs a pipe of a known size")
def test_a_signal_after_the_outputs_are_written_says_that_they_are(tmp_path):
    make_clip(tmp_path / "clip.mp4", frames=3)
    reader, writer = os.pipe()
    os.write(writer, b"x" * fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096))  # nobody reads: the summary waits
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "trackmatte",
            "track",
            "clip.mp4",
            "--box",
            "10,10,40,40",
            "--masks",
            "t.jsonl",
            "--json",
        ],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "t.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    os.close(reader)
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    assert errors.strip() == "trackmatte: terminated; all outputs are written"
    assert process.returncode == 143
