"""Builds the C++ beside this file with the machine's own compiler, once, and loads it.

It is for CPUs that multiply float16 natively. Threads are those of torch: the library asks for OpenMP's functions and
finds the ones that torch has loaded already.

Of engines a CPU may have two: lanes of its vectors (AVX512-FP16, and VNNI for 8-bit integers) and tiles (AMX), which
multiply several times faster and sum up in float32.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch

logger = logging.getLogger(__name__)
SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=sapphirerapids", "-fopenmp", "-fPIC", "-w")
Engine = Literal["float16 lanes", "int8 lanes", "float16 tiles", "bfloat16 tiles"]
_INT, _FLOAT, _SIZE, _POINTER = ctypes.c_int, ctypes.c_float, ctypes.c_long, ctypes.c_void_p
_LAYER, _LAYER_INT8 = [*[_POINTER] * 2, _SIZE, _SIZE], [*[_POINTER] * 4, _SIZE, _SIZE]
_NORMED = [_POINTER, _SIZE, _POINTER, _POINTER, _FLOAT]
_LINEAR = [*_NORMED, *_LAYER, _INT, _POINTER, _INT]
_FEEDFORWARD = [*_NORMED, *_LAYER, _INT, *_LAYER, _POINTER, _INT]
_ATTEND = [*[_POINTER] * 8, *[_SIZE] * 6, _FLOAT, _INT]
_SIGNATURES = {
    "linear": _LINEAR,
    "linear_int8": [*_NORMED, *_LAYER_INT8, _INT, _POINTER, _INT],
    "linear_tiles": [_INT, *_LINEAR],
    "feedforward": _FEEDFORWARD,
    "feedforward_int8": [*_NORMED, *_LAYER_INT8, _INT, *_LAYER_INT8, _POINTER, _INT],
    "feedforward_tiles": [_INT, *_FEEDFORWARD],
    "attend": _ATTEND,
    "attend_tiles": [_INT, *_ATTEND],
    "recall": [_POINTER, *[_SIZE] * 2, *[_POINTER] * 8, *[_SIZE] * 3, _FLOAT, *[_POINTER] * 2, _SIZE, _POINTER, _INT],
    "window_tiles": [
        *[_INT, _POINTER, *[_SIZE] * 3, *[_POINTER] * 2, _FLOAT, *[_POINTER] * 6],
        *[*[_SIZE] * 4, _POINTER, _INT],
    ],
    "recall_tiles": [
        *[_INT, _POINTER, _SIZE, _SIZE, *[_POINTER] * 2, _FLOAT, *[_POINTER] * 12],
        *[*[_SIZE] * 3, _FLOAT, *[_POINTER] * 2, _SIZE, _POINTER, _INT],
    ],
}
_KINDS: dict[Engine, tuple[str, tuple[int, ...]]] = {  # of a kernel: how its name ends, what it is called with first
    "float16 lanes": ("", ()),
    "int8 lanes": ("_int8", ()),
    "float16 tiles": ("_tiles", (0,)),
    "bfloat16 tiles": ("_tiles", (1,)),
}


@cache
def library() -> ctypes.CDLL | None:
    """The kernels; None where this machine can't build or run them, which is said in one line of log."""
    if platform.system() != "Linux" or not _multiplies_half():
        logger.warning("no float16 kernels, so nothing is compiled: they need Linux on a CPU with AVX512-FP16")
        return None
    try:
        return _loaded()
    except (OSError, RuntimeError, subprocess.SubprocessError) as exc:
        logger.warning("no float16 kernels: %s", str(exc).strip().split("\n")[0])
        return None


def kernel(name: str, engine: Engine) -> Callable[..., None]:
    """One of them, where `library` is."""
    kernels = library()
    assert kernels is not None
    end, first = _KINDS[engine]
    return partial(getattr(kernels, name + end), *first)


@cache
def engines() -> tuple[Engine, ...]:
    """What can multiply here, the fastest first."""
    kernels = library()
    if kernels is None:
        return ()
    tiles: tuple[Engine, ...] = ("float16 tiles", "bfloat16 tiles")
    return *tiles[2 - kernels.tiles() :], "float16 lanes", "int8 lanes"


def engine_of(dtype: torch.dtype) -> Engine | None:
    """What multiplies a half format here; None where nothing of ours does."""
    name = str(dtype).removeprefix("torch.")
    return next((engine for engine in engines() if engine.startswith(f"{name} ")), None)


def native_format(*, small: bool) -> torch.dtype | None:
    """The half format that our kernels multiply fastest here; None where there are none.

    Args:
        small: the network's masks do not bear the rounding of bfloat16, and its products are few.
    """
    formats = (torch.float16,) if small else (torch.float16, torch.bfloat16)
    return next((dtype for engine in engines() for dtype in formats if engine_of(dtype) == engine), None)


def _loaded() -> ctypes.CDLL:
    """Raises: OSError, RuntimeError, SubprocessError: why not, in its first line."""
    problems = []
    for compiler in _compilers():
        try:
            loaded = ctypes.CDLL(str(_built(compiler)))
        except (OSError, subprocess.SubprocessError) as exc:
            first = str(exc).strip().splitlines()[0]
            problems.append(f"{compiler}: {first}; g++ 12 or later is needed")
            continue
        for name, types in _SIGNATURES.items():
            getattr(loaded, name).argtypes = types
            getattr(loaded, name).restype = None
        return loaded
    raise OSError("; ".join(problems) or "no C++ compiler; install g++ 12 or later")


def _multiplies_half() -> bool:
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return "avx512_fp16" in flags.split()


def _compilers() -> Iterator[str]:
    for name in (os.environ.get("CXX"), "g++", "c++"):
        if name and (path := shutil.which(name)):
            yield path


def _built(compiler: str) -> Path:
    """The library, built by this compiler, from the cache if it is there."""
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".cpp", ".h"))
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    described = "\n".join([version, *FLAGS, *(path.read_text() for path in sources)])
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trackmatte"
    target = home / f"half-{hashlib.sha256(described.encode()).hexdigest()[:16]}.so"
    if target.exists():
        return target
    home.mkdir(parents=True, exist_ok=True)
    logger.info("compiling float16 kernels, once, with %s", compiler)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        units = {path: Path(folder) / f"{path.stem}.o" for path in sources if path.suffix == ".cpp"}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda unit: _run(compiler, *FLAGS, "-c", unit[0], "-o", unit[1]), units.items()))
        made = Path(folder) / target.name
        _run(compiler, *FLAGS, "-shared", *units.values(), "-o", made)
        made.replace(target)
    return target


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"can't compile: {done.stderr.strip() or done.returncode}")
