"""Outputs that appear under their own name only when they are complete.

An output is written to a hidden sibling (`.NAME.XXXXXXXX.part.SUFFIX`) and renamed at the end, so that a reader
never sees half a file and a failed run leaves what was there before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from trackmatte.errors import OutputError, UsageError

_IMAGE_NAME = re.compile(r"\d{5,}\.png")


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
    return exc.strerror or str(exc)


class PendingOutput:
    """A file or folder that is being written under a temporary name beside its own.

    Attributes:
        path: the final name.
        temp: where to write until `commit`; a file that exists and is empty, or an empty folder.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, overwrite: bool, folder: bool = False, source: str | None = None
    ) -> None:
        """Checks that `path` can be written and creates the temporary beside it, with the folders that lead there.

        Args:
            path: the final name.
            overwrite: whether something that exists may be replaced (at `commit`).
            folder: whether the output is a folder.
            source: the clip that is read, which the output must not be.

        Raises:
            UsageError: the output is the clip itself.
            OutputError: it exists, or its folder can't be made or written.
        """
        self.path = Path(path)
        self._overwrite = overwrite
        self._folder = folder
        self._open = False
        self._made: list[Path] = []
        with output_errors(self.path):
            self._check(source)
        self.temp = _temp_name(self.path)
        try:
            with output_errors(self.path):
                self._make_parents()
                if folder:
                    self.temp.mkdir()
                else:
                    self.temp.touch(exist_ok=False)
        except OutputError:
            self._remove_parents()
            raise
        self._open = True

    def _check(self, source: str | None) -> None:
        if source is not None and _same_place(self.path, Path(source)):
            raise UsageError(f"the output {self.path} is the clip itself; give it another name")
        if not self.path.parent.is_dir() and self.path.parent.exists():
            raise OutputError(f"can't write {self.path}: {self.path.parent} is a file; choose another folder")
        if self.path.is_dir():
            self._check_folder()
        elif self.path.exists() or self.path.is_symlink():
            if self._folder:
                raise OutputError(f"can't write {self.path}: it is a file, a folder was expected; choose another name")
            if not self._overwrite:
                raise OutputError(f"{self.path} exists; choose another name or allow it with --overwrite")

    def _make_parents(self) -> None:
        parent = self.path.parent
        self._made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        parent.mkdir(parents=True, exist_ok=True)

    def _remove_parents(self) -> None:
        for folder in self._made:
            with contextlib.suppress(OSError):  # another output lies in it
                folder.rmdir()

    def _check_folder(self) -> None:
        """An existing folder may be taken when empty, and replaced when all it holds are numbered PNGs."""
        if not self._folder:
            raise OutputError(f"can't write {self.path}: it is a folder, a file was expected; choose another name")
        names = os.listdir(self.path)
        if names and not self._overwrite:
            raise OutputError(f"{self.path} exists and isn't empty; choose another name or allow it with --overwrite")
        foreign = next((name for name in names if not _IMAGE_NAME.fullmatch(name)), None)
        if foreign is not None:
            raise OutputError(
                f"can't replace {self.path}: it holds {foreign!r}, not only numbered PNGs; choose another folder"
            )

    def commit(self) -> None:
        """Gives the finished output its name, replacing what was there. Raises OutputError."""
        if not self._open:
            return
        with output_errors(self.path):
            self._check(None)
            if self._folder and self.path.is_dir():
                _replace_folder(self.temp, self.path)
            else:
                os.replace(self.temp, self.path)
        self._open = False

    def discard(self) -> None:
        """Removes the temporary and the folders made for it; the final name is left as it was. Never raises."""
        if not self._open:
            return
        if self._folder:
            shutil.rmtree(self.temp, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                self.temp.unlink()
        self._open = self.temp.exists()
        self._remove_parents()


def _same_place(one: Path, other: Path) -> bool:
    """Whether both names lead to the same file or folder, whatever links lie between."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _temp_name(path: Path) -> Path:
    """A hidden name beside `path` that nobody else uses, with the same suffix and no longer than names may be."""
    stem = path.name.encode()[:200].decode(errors="ignore")
    return path.parent / f".{stem}.{secrets.token_hex(4)}.part{path.suffix[:16]}"


def _replace_folder(new: Path, old: Path) -> None:
    """Puts `new` where `old` is; `old` comes back if that fails."""
    aside = _temp_name(old)
    os.replace(old, aside)
    try:
        os.replace(new, old)
    except OSError:
        os.replace(aside, old)
        raise
    shutil.rmtree(aside, ignore_errors=True)
