"""Input files: only regular files are opened, since a pipe or a device may keep a reader waiting for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_PIXELS = 178_956_970
"""The largest image or mask that is read, in pixels; where Pillow too speaks of a decompression bomb."""


def open_input(path: str | Path) -> BinaryIO:
    """Opens a regular file for reading bytes.

    Raises:
        OSError: it can't be read, or is a folder, a pipe, a socket or a device; `strerror` says which.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as exc:  # a null character or half a surrogate pair
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from exc
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, a file was expected", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, a file was expected", str(path))
    return open(path, "rb")
