"""Outputs that appear under their own name only when they are complete.

An output is written under a hidden name beside its own (see `parts`) and renamed at the end, so that a reader never
sees half a file and a failed run leaves what was there before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType

from trackmatte.errors import OutputError, UsageError
from trackmatte.io.parts import hidden_name, hold, remove, reserve, sweep
from trackmatte.io.pngs import is_marked

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_IN_THE_WAY = "it is a pipe, a socket or a device; choose another name"


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turns the system's errors inside the block into an OutputError that names `path`."""
    try:
        yield
    except OSError as exc:
        raise OutputError(f"can't write {path}: {_reason(exc, path)}") from exc


def _reason(exc: OSError, path: Path) -> str:
    """What went wrong and what to do, in a few words."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space or choose another place"
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write in {path.parent}; choose another folder"
    if exc.errno == errno.ENAMETOOLONG:
        return "the name is too long; choose a shorter one"
    if exc.errno == errno.ENOENT:
        return f"{path.parent} is no longer there; create it or choose another folder"
    if exc.errno in (errno.EEXIST, errno.ENOTEMPTY):
        return "something else has taken the name meanwhile; choose another one"
    return exc.strerror or str(exc)


class PendingOutput:
    """A file or folder that is being written under a temporary name beside its own.

    Attributes:
        path: the final name.
        temp: where to write until `commit`; a file that exists and is empty, or an empty folder.
        notes: sentences on what was found beside it, left by runs that were killed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool,
        folder: bool = False,
        source: str | None = None,
        folders: Collection[str] = (),
    ) -> None:
        """Checks that `path` can be written and creates the temporary beside it, with the folders that lead there.

        What runs that were killed left beside it is removed, or put back.

        Args:
            path: the final name.
            overwrite: whether something that exists may be replaced (at `commit`).
            folder: whether the output is a folder.
            source: the clip that is read, which the output must not be.
            folders: the sub-folders that it has, where it holds nothing else.

        Raises:
            UsageError: the output is the clip itself.
            OutputError: it exists, or its folder can't be made or written.
        """
        self.path = Path(path)
        with output_errors(self.path):
            self.path = _followed(self.path)
        self._overwrite = overwrite
        self._folder = folder
        self._folders = frozenset(folders)
        self._open = False
        self._stood = False  # an empty folder, when the name was taken
        self._made: list[Path] = []
        self._locks: list[int] = []
        with output_errors(self.path):
            self.notes = sweep(self.path)
            self._check(source)
        try:
            with output_errors(self.path):
                self._make_parents()
                self.temp, lock = reserve(self.path, folder=folder)
        except OutputError:
            self._remove_parents()
            raise
        self._keep(lock)
        self._open = True

    def _keep(self, lock: int | None) -> None:
        if lock is not None:
            self._locks.append(lock)

    def _unlock(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

    def _check(self, source: str | None) -> None:
        if source is not None and _same_place(self.path, Path(source)):
            raise UsageError(f"the output {self.path} is the clip itself; give it another name")
        if self.path.is_symlink():
            raise OutputError(f"can't write {self.path}: it is a link that leads back to itself; choose another name")
        here, real = os.path.realpath("."), os.path.realpath(self.path)
        if os.path.commonpath([here, real]) == real:
            raise OutputError(f"can't write {self.path}: it is the working folder or holds it; choose another folder")
        if not self.path.parent.is_dir() and self.path.parent.exists():
            raise OutputError(f"can't write {self.path}: {self.path.parent} is a file; choose another folder")
        if self.path.is_dir():
            self._check_folder()
        elif self.path.exists():
            if not self.path.is_file():
                raise OutputError(f"can't write {self.path}: {_IN_THE_WAY}")
            if self._folder:
                raise OutputError(f"can't write {self.path}: it is a file, a folder was expected; choose another name")
            if not self._overwrite:
                raise OutputError(f"{self.path} exists; choose another name or allow it to be replaced (--overwrite)")

    def _make_parents(self) -> None:
        parent = self.path.parent
        self._made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        parent.mkdir(parents=True, exist_ok=True)

    def _remove_parents(self) -> None:
        for folder in self._made:
            with contextlib.suppress(OSError):  # another output lies in it
                folder.rmdir()

    def _check_folder(self) -> None:
        """An existing folder may be taken when empty, and replaced when all it holds are PNGs of ours."""
        if not self._folder:
            raise OutputError(f"can't write {self.path}: it is a folder, a file was expected; choose another name")
        names = os.listdir(self.path)
        if names and not self._overwrite:
            raise OutputError(
                f"{self.path} exists and isn't empty; choose another name or allow it to be replaced (--overwrite)"
            )
        foreign = next((name for name in names if not self._replaceable(self.path / name)), None)
        if foreign is not None:
            whose = "this run doesn't write" if self._folders else "trackmatte didn't write"
            raise OutputError(f"can't replace {self.path}: it holds {foreign!r}, which {whose}; choose another folder")

    def _replaceable(self, entry: Path) -> bool:
        """Whether something in the folder is a picture of ours, or a folder of such where this output has one too."""
        if entry.is_symlink():
            return False
        if self._folders:
            return entry.name in self._folders and entry.is_dir() and all(map(_is_ours, entry.iterdir()))
        return _is_ours(entry)

    def commit(self) -> None:
        """Gives the finished output its name, replacing what was there. Raises OutputError."""
        commit_all([self])

    def check(self) -> None:
        """Says whether the name may still be taken. Raises OutputError."""
        with output_errors(self.path):
            self._check(None)

    def take(self) -> Path | None:
        """Gives the output its name; returns where what stood there now is, if anything. Raises OutputError."""
        aside = None
        with output_errors(self.path):
            if self._overwrite and self.path.exists():
                aside = hidden_name(self.path, "old")
                self._keep(hold(self.path))
                _move_aside(self.path, aside)
                if not self._folder:
                    shutil.copymode(aside, self.temp)
            self._stood = self.path.is_dir()
            try:
                _rename(self.temp, self.path, replace=aside is not None)
            except OSError:
                if aside is not None:
                    _restore(aside, self.path)
                raise
        self._open = False
        return aside

    def settle(self, aside: Path | None) -> None:
        """Ends a commit: what stood under the name before is removed."""
        if aside is not None:
            remove(aside)
        self._unlock()

    def give_back(self, aside: Path | None) -> None:
        """Undoes `take`. Raises OSError."""
        os.replace(self.path, self.temp)
        self._open = True
        if aside is not None:
            os.replace(aside, self.path)
        elif self._stood:
            self.path.mkdir()

    @property
    def open(self) -> bool:
        """Whether the output waits for its name."""
        return self._open

    def discard(self) -> None:
        """Removes the temporary and the folders made for it; the final name is left as it was. Never raises."""
        if not self._open:
            return
        remove(self.temp)
        self._unlock()
        self._open = self.temp.exists()
        self._remove_parents()


def _is_ours(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and is_marked(file)


def _same_place(one: Path, other: Path) -> bool:
    """Whether both names lead to the same file or folder, whatever links lie between."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def commit_all(outputs: Sequence[PendingOutput]) -> None:
    """Gives all finished outputs their names, or none: what was moved is put back where one can't be.

    A signal that comes meanwhile acts after a failure; where all have their names, the run is over anyway.

    Raises:
        OutputError: a name was taken meanwhile, or can't be written.
    """
    waiting = [output for output in outputs if output.open]
    taken: list[tuple[PendingOutput, Path | None]] = []
    with _signals_held():
        try:
            for output in waiting:
                output.check()
            for output in waiting:
                taken.append((output, output.take()))
        except BaseException:
            for output, aside in reversed(taken):
                with contextlib.suppress(OSError):
                    output.give_back(aside)
            raise
        for output, aside in taken:
            output.settle(aside)


def _move_aside(path: Path, aside: Path) -> None:
    """A file keeps its name, too, until it is replaced, where the disk has hard links."""
    if path.is_file():
        with contextlib.suppress(OSError):
            os.link(path, aside)
            return
    os.replace(path, aside)


def _rename(temp: Path, path: Path, *, replace: bool) -> None:
    """Renames; where nothing is to be replaced, a file that has appeared meanwhile stops it (where links are known)."""
    if replace or temp.is_dir():
        os.replace(temp, path)
        return
    try:
        os.link(temp, path)
    except FileExistsError:
        raise
    except OSError:
        os.replace(temp, path)
    else:
        temp.unlink()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Holds interrupt, termination and hang-up back; after an error in the block the first of them acts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    numbers = [number for name in _SIGNALS if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda got, frame: came.append((got, frame)))
    done = False
    try:
        yield
        done = True
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        if came and not done and callable(handler := before[came[0][0]]):
            handler(*came[0])


def _followed(path: Path) -> Path:
    """Where a link leads, so that it is written through; other names as they are."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _restore(aside: Path, path: Path) -> None:
    """Puts back what `_move_aside` moved; rename does nothing where both are links to one file."""
    if _same_place(aside, path):
        aside.unlink()
    else:
        os.replace(aside, path)
