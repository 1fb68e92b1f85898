"""Names are reserved, checked, given at the end, and left alone when something fails."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trackmatte.errors import OutputError, UsageError
from trackmatte.io.atomic import PendingOutput, commit_all, output_errors
from trackmatte.io.pngs import is_marked, marked

EMPTY_PNG = b"\x89PNG\r\n\x1a\n" + bytes(25)


def frame(text: str) -> bytes:
    """As if it were a PNG of ours that shows `text`."""
    return marked(EMPTY_PNG + text.encode())


def shown(path: Path) -> str:
    assert is_marked(path)
    return path.read_bytes()[-3:].decode()


def test_a_file_appears_at_commit(tmp_path: Path) -> None:
    pending = PendingOutput(tmp_path / "a.txt", overwrite=False)
    pending.temp.write_text("new")
    assert pending.temp.parent == tmp_path
    assert pending.temp.name.startswith(".a.txt.")
    assert pending.temp.name.endswith(".part.txt")
    assert not (tmp_path / "a.txt").exists()
    pending.commit()
    pending.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    one = PendingOutput(tmp_path / "a.txt", overwrite=False)
    other = PendingOutput(tmp_path / "a.txt", overwrite=False)
    assert one.temp != other.temp
    one.temp.write_text("one")
    one.commit()
    with pytest.raises(OutputError, match="exists"):
        other.commit()
    other.discard()
    assert (tmp_path / "a.txt").read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_folders_are_made_and_removed_again(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "a.mp4"
    pending = PendingOutput(path, overwrite=False)
    assert pending.temp.exists()
    pending.discard()
    assert list(tmp_path.iterdir()) == []
    pending = PendingOutput(path, overwrite=False)
    pending.commit()
    assert path.exists()


def test_a_folder_made_for_two_outputs_stays_for_the_finished_one(tmp_path: Path) -> None:
    first = PendingOutput(tmp_path / "out" / "a.mp4", overwrite=False)
    second = PendingOutput(tmp_path / "out" / "b.mp4", overwrite=False)
    second.commit()
    first.discard()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mp4"]


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        PendingOutput(tmp_path / "file" / "a.mp4", overwrite=False)
    with pytest.raises(OutputError, match="can't write"):
        PendingOutput(tmp_path / "file" / "deep" / "a.mp4", overwrite=False)


def test_the_current_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pending = PendingOutput("a.txt", overwrite=False)
    pending.commit()
    assert (tmp_path / "a.txt").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission"):
            PendingOutput(tmp_path / "a.txt", overwrite=False)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where nobody may make files")
def test_a_folder_where_nobody_may_write_is_told() -> None:
    with pytest.raises(OutputError, match=r"can't write /proc/self/a\.txt"):
        PendingOutput("/proc/self/a.txt", overwrite=False)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "no permission to write in"),
        (errno.EROFS, "no permission to write in"),
        (errno.ENOENT, "no longer there"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_errors_of_the_system_are_told(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(OutputError, match=words) as caught, output_errors(tmp_path / "a.txt"):
        raise OSError(code, os.strerror(code))
    assert isinstance(caught.value.__cause__, OSError)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the disk is full"), output_errors(tmp_path / "a"):
        Path("/dev/full").write_bytes(b"x")


def test_the_clip_is_never_overwritten(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_text("mine")
    (tmp_path / "link.mp4").symlink_to(clip)
    os.link(clip, tmp_path / "hard.mp4")
    (tmp_path / "sub").mkdir()
    for name in ("clip.mp4", "link.mp4", "hard.mp4", "sub/../clip.mp4"):
        with pytest.raises(UsageError, match="the clip itself"):
            PendingOutput(tmp_path / name, overwrite=True, source=str(clip))
    assert clip.read_text() == "mine"


def test_a_folder_and_a_file_are_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="it is a folder"):
        PendingOutput(tmp_path / "folder", overwrite=True)
    with pytest.raises(OutputError, match="it is a file"):
        PendingOutput(tmp_path / "file", overwrite=True, folder=True)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    pending = PendingOutput(tmp_path / "out", overwrite=False, folder=True)
    (pending.temp / "00000.png").touch()
    pending.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.png"]


def test_a_folder_of_pngs_is_replaced_at_commit_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000.png").write_bytes(frame("old"))
    (tmp_path / "out" / "00001.png").write_bytes(frame("old"))
    with pytest.raises(OutputError, match="isn't empty"):
        PendingOutput(tmp_path / "out", overwrite=False, folder=True)
    pending = PendingOutput(tmp_path / "out", overwrite=True, folder=True)
    (pending.temp / "00000.png").write_bytes(frame("new"))
    assert shown(tmp_path / "out" / "00000.png") == "old"
    pending.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [shown(path) for path in (tmp_path / "out").iterdir()] == ["new"]


def test_a_folder_that_holds_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000.png").write_bytes(frame("old"))
    for name, data in (("thesis.tex", b""), ("00001.png", EMPTY_PNG + b"a mask that was painted by hand")):
        (tmp_path / "out" / name).write_bytes(data)
        with pytest.raises(OutputError, match=f"it holds '{name}', which trackmatte didn't write"):
            PendingOutput(tmp_path / "out", overwrite=True, folder=True)
        (tmp_path / "out" / name).unlink()
    PendingOutput(tmp_path / "out", overwrite=True, folder=True).discard()


def test_discarding_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000.png").write_bytes(frame("old"))
    pending = PendingOutput(tmp_path / "out", overwrite=True, folder=True)
    (pending.temp / "00000.png").write_bytes(frame("new"))
    pending.discard()
    pending.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert shown(tmp_path / "out" / "00000.png") == "old"


def test_long_names_keep_their_place(tmp_path: Path) -> None:
    name = "ä" * 120 + ".mp4"
    pending = PendingOutput(tmp_path / name, overwrite=False)
    pending.commit()
    assert (tmp_path / name).exists()
    with pytest.raises(OutputError, match="too long"):
        PendingOutput(tmp_path / ("a" * 300 + ".mp4"), overwrite=False).commit()


def test_all_outputs_get_their_names_or_none(tmp_path):
    """A name that is taken while the run goes on stops the others too, and what stood there stays."""
    (tmp_path / "a").write_text("old")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "00000.png").write_bytes(frame("old"))
    outputs = [
        PendingOutput(tmp_path / "a", overwrite=True),
        PendingOutput(tmp_path / "c", overwrite=True, folder=True),
        PendingOutput(tmp_path / "b", overwrite=False),
    ]
    (tmp_path / "b").write_text("another's")
    with pytest.raises(OutputError, match="exists"):
        commit_all(outputs)
    for output in outputs:
        output.discard()
    assert (tmp_path / "a").read_text() == shown(tmp_path / "c" / "00000.png") == "old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_a_rename_that_fails_puts_back_what_was_moved(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").write_text("old")
    (tmp_path / "empty").mkdir()
    outputs = [
        PendingOutput(tmp_path / "a", overwrite=True),
        PendingOutput(tmp_path / "empty", overwrite=False, folder=True),
        PendingOutput(tmp_path / "b", overwrite=True),
    ]
    replace = os.replace

    def fails(source, target):
        if str(source) == str(outputs[2].temp):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OutputError, match="disk is full"):
        commit_all(outputs)
    for output in outputs:
        output.discard()
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "empty"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_name_that_is_taken_at_the_last_moment_is_left_alone(tmp_path, monkeypatch, folder):
    """After the check, before the rename."""
    output = PendingOutput(tmp_path / "out", overwrite=False, folder=folder)

    def taken():
        if folder:
            output.path.mkdir()
            (output.path / "theirs").touch()
        else:
            output.path.write_text("theirs")

    monkeypatch.setattr(output, "check", taken)
    with pytest.raises(OutputError, match="something else has taken the name"):
        output.commit()
    output.discard()
    assert [path.name for path in tmp_path.rglob("*")] == (["out", "theirs"] if folder else ["out"])


def test_the_mode_of_a_file_that_is_replaced_is_kept(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o600)
    pending = PendingOutput(tmp_path / "a", overwrite=True)
    pending.commit()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_link_that_leads_to_itself_is_no_output(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OutputError, match="leads back to itself"):
        PendingOutput(tmp_path / "loop", overwrite=True)


LEAVES = """
import os, sys
from trackmatte.io.atomic import PendingOutput, commit_all
import trackmatte.io.atomic as atomic
output = PendingOutput(sys.argv[1], overwrite=True, folder=sys.argv[2] == "folder")
if sys.argv[3] == "committing":
    atomic._rename = lambda *a, **k: os._exit(9)
    commit_all([output])
print(output.temp, flush=True)
sys.stdin.read()
os._exit(9)
"""


def leaving(path, kind, moment):
    """A run that is killed once its stdin is closed, or while it gives the output its name."""
    return subprocess.Popen(
        [sys.executable, "-c", LEAVES, str(path), kind, moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_run_left_is_found_once_it_is_dead(tmp_path, kind):
    run = leaving(tmp_path / "out", kind, "writing")
    left = Path(run.stdout.readline().strip())
    assert left.exists()
    other = PendingOutput(tmp_path / "out", overwrite=False, folder=kind == "folder")
    assert (left.exists(), other.notes) == (True, []), "a run that lives keeps its own"
    other.discard()
    run.communicate()
    again = PendingOutput(tmp_path / "out", overwrite=False, folder=kind == "folder")
    assert again.notes == [f"removed {left}, left by a run that was killed"]
    assert os.listdir(tmp_path) == [again.temp.name]
    again.discard()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_a_folder_that_a_killed_run_had_moved_away_comes_back(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000.png").write_bytes(frame("old"))
    leaving(tmp_path / "out", "folder", "committing").communicate()
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="exists and isn't empty"):
        PendingOutput(tmp_path / "out", overwrite=False, folder=True)
    assert shown(tmp_path / "out" / "00000.png") == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_what_belongs_to_other_outputs_is_left_alone(tmp_path):
    names = [
        ".other.mp4.0123abcd.part.mp4",
        ".out.mp4.0123abcd.part.mov",
        ".out.mp4.part.mp4",
        "out.mp4.0123abcd.part.mp4",
    ]
    for name in names:
        (tmp_path / name).touch()
    pending = PendingOutput(tmp_path / "out.mp4", overwrite=False)
    assert pending.notes == []
    pending.discard()
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_links_are_written_through(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "a")
    pending = PendingOutput(tmp_path / "link", overwrite=True)
    pending.temp.write_text("new")
    pending.commit()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "a").read_text() == "new"


def test_a_folder_inside_that_is_called_like_a_frame_is_not_removed(tmp_path):
    (tmp_path / "out" / "00000.png").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"can't replace .*00000\.png"):
        PendingOutput(tmp_path / "out", overwrite=True, folder=True)


@pytest.mark.parametrize("name", [".", "..", "../.", "{here}"])
def test_the_working_folder_is_no_output(tmp_path, monkeypatch, name):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(OutputError, match="working folder"):
        PendingOutput(name.format(here=tmp_path / "a" / "b"), overwrite=True, folder=True)
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_pipe_is_no_output(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="a pipe"):
        PendingOutput(tmp_path / "pipe", overwrite=True)


@pytest.mark.parametrize("failing", ["a", "b"])
def test_a_file_that_can_not_be_replaced_is_left_alone_with_nothing_beside_it(tmp_path, monkeypatch, failing):
    for name in "ab":
        (tmp_path / name).write_text(f"old {name}")
    outputs = [PendingOutput(tmp_path / name, overwrite=True) for name in "ab"]
    replace = os.replace

    def fails(source, target):
        if str(target) == str(tmp_path / failing) and str(source) == str(outputs["ab".index(failing)].temp):
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OutputError):
        commit_all(outputs)
    for output in outputs:
        output.discard()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "old a", "b": "old b"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_a_name_that_is_not_utf8_can_be_written(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    pending = PendingOutput(path, overwrite=False)
    pending.temp.write_text("new")
    pending.commit()
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.txt"]
