"""Whether a file is as long as its own header says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

# Containers that may be cut anywhere: what comes before the first frame that decodes is not damage.
JOINABLE = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "vc1", "dv"})

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"styp", b"uuid", b"pnot", b"mfra")


def cut_short(path: str | Path | BinaryIO) -> str | None:
    """Compares the sizes that the header of a file, given by name or open, declares with its own.

    Known are MP4 and MOV (boxes), Matroska and WebM (the segment), and AVI (RIFF). Others declare no size.

    Returns:
        What is missing, such as `812 of 1,738,970 bytes are missing`; None where nothing is, or it can't be told.
    """
    if isinstance(path, (str, Path)):
        with open(path, "rb") as opened:
            return cut_short(opened)
    file = path
    actual = os.fstat(file.fileno()).st_size
    file.seek(0)
    start = file.read(16)
    if start[4:8] in _BOXES:
        declared = _boxes_end(file, actual)
    elif start[:4] == b"RIFF":
        declared = 8 + int.from_bytes(start[4:8], "little") if start[4:8] != b"\0\0\0\0" else 0
    elif int.from_bytes(start[:4], "big") == _EBML:
        declared = _segment_end(file)
    else:
        declared = 0
    return f"{declared - actual:,} of {declared:,} bytes are missing" if declared > actual else None


def _boxes_end(file: BinaryIO, actual: int) -> int:
    at = 0
    while at + 8 <= actual:
        file.seek(at)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if header[4:8] not in _BOXES or size < 8:  # up to the end, or trailing bytes of another kind
            return actual
        at += size
    return at


def _segment_end(file: BinaryIO) -> int:
    """Where the first Segment ends; 0 where it has no size, as while it was streamed."""
    file.seek(4)
    size, _ = _vint(file)
    file.seek(size, os.SEEK_CUR)
    if int.from_bytes(file.read(4), "big") != _SEGMENT:
        return 0
    size, unknown = _vint(file)
    return 0 if unknown else file.tell() + size


def _vint(file: BinaryIO) -> tuple[int, bool]:
    """Reads an EBML number of variable size; the second value tells whether it stands for `unknown`."""
    first = file.read(1)
    if not first or first[0] == 0:
        return 0, True
    length = 9 - first[0].bit_length()
    mask = (1 << 7 * length) - 1
    value = int.from_bytes(first + file.read(length - 1), "big") & mask
    return value, value == mask
