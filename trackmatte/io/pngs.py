"""PNGs of ours carry a mark, a text chunk `Software: trackmatte`, so that no other file is ever taken for one."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = len(_SIGNATURE) + 25  # the signature and the chunk IHDR
_TEXT = b"tEXtSoftware\0trackmatte"
_MARK = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))


def marked(png: bytes) -> bytes:
    """The same picture with the mark behind its header."""
    return png[:_HEADER] + _MARK + png[_HEADER:]


def is_marked(path: Path) -> bool:
    """Whether a file is a PNG with the mark. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(_HEADER + len(_MARK))
    return start.startswith(_SIGNATURE) and start.endswith(_MARK)
