"""How much memory this process has used, and whether an error means that there was too little."""

from __future__ import annotations

import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_REFUSED = ("can't allocate memory", "Cannot allocate memory", "out of memory", "failed to map segment", "bad_alloc")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
_NEAR = 0.8  # of the limit: libraries whose allocations fail say all kinds of things


def shortage(error: BaseException) -> str | None:
    """A sentence on too little memory where that is what an error means, else None."""
    text = " ".join(str(error).split())
    limit = _limit_mb()
    near = limit is not None and (_status_mb("VmPeak") or 0) > _NEAR * limit
    if not (isinstance(error, MemoryError) or near or any(words in text for words in _REFUSED)):
        return None
    used = peak_memory_mb() or 0
    parts = [f"{used:.0f} MB were in use"]
    if match := re.search(rf"allocate ([\d.]+) ?({'|'.join(_UNITS)})", text):
        wanted = float(match[1]) * _UNITS[match[2]] / 1e6
        parts.append(f"{wanted:.0f} MB more were wanted, so {1.2 * (used + wanted):.0f} MB would do")
    if limit is not None:
        parts.append(f"the limit on addresses is {limit:.0f} MB (ulimit -v)")
    return f"too little memory: {', '.join(parts)}; give more, or take a smaller clip, fewer objects or a smaller model"


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in MB (10^6 bytes); None where the system doesn't tell (Windows).

    Linux is asked for the high-water mark of this program's own image: `getrusage` would count the memory of the
    process that started it, too.
    """
    if (peak := _status_mb("VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)


def _status_mb(name: str) -> float | None:
    """A line of Linux's account of this process, in MB; None elsewhere."""
    if not _STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return round(int(lines[name].split()[0]) * 1024 / 1e6, 1) if name in lines else None


def _limit_mb() -> float | None:
    """The limit on this process's addresses, in MB; None where there is none."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit / 1e6
