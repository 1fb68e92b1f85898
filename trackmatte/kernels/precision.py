"""Which number format the network computes in, and the context that makes it so.

A half format is for a Hiera and for memory attention, which take nearly all of the time. The rest stays in float32: it
chooses between masks, and a choice tipped by rounding is another mask (`nano` in bfloat16 falls to an IoU of 0.85 with
its masks in float32 where all is half, and keeps 0.99 so). Memory is kept in bfloat16 whatever the format.

On a CPU half formats are best multiplied by kernels of our own (`kernels/native`), which `compile` asks for.
"""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from trackmatte.errors import ModelError
from trackmatte.kernels.native.build import Engine, native_format

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DEVICE = re.compile(r"(cpu|mps|cuda)|cuda:(\d{1,3})")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Products:
    """What multiplies, on a CPU.

    Attributes:
        native: the engine of our own kernels; None is torch.
        int8: 8-bit integers, in layers where they are enough.
    """

    native: Engine | None = None
    int8: bool = False

    @property
    def tiles(self) -> Engine | None:
        """The engine, if it is one of tiles."""
        return self.native if self.native in ("float16 tiles", "bfloat16 tiles") else None


PLAIN = Products()


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is CUDA, then MPS, then the CPU, whichever is there.

    Raises:
        ModelError: the name is unknown, or the device is not there.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in here.items() if available))
    match = _DEVICE.fullmatch(name)
    if match is None:
        raise ModelError(f"unknown device {name!r}; choose auto, cpu, cuda, cuda:1 (a GPU by its number) or mps")
    if not here[match[1] or "cuda"]:
        raise ModelError(f"device {name!r} is not there or this torch is built without it; choose auto or cpu")
    if match[2] and int(match[2]) >= (count := torch.cuda.device_count()):
        raise ModelError(f"device {name!r} is not there; this machine has {count}, counted from cuda:0")
    return torch.device(name)


def resolve_dtype(precision: str, device: torch.device, *, small: bool = False, compile: bool = False) -> torch.dtype:
    """The format to compute in.

    Args:
        precision: a name; `auto` is bfloat16 on a CUDA device that has it, else float16. On a CPU it is float32, unless
            products in bfloat16 are clearly faster there.
        small: the network is one whose products are too small to gain from torch's bfloat16 on a CPU.
        compile: kernels may be compiled; `auto` is then, on a CPU that has an engine for it, a half format.

    Raises:
        ModelError: the precision is unknown.
    """
    if precision == "auto":
        if device.type == "cpu":
            if compile and (native := native_format(small=small)):
                return native
            return torch.bfloat16 if not small and bfloat16_pays() else torch.float32
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
    if precision not in _DTYPES:
        raise ModelError(f"unknown precision {precision!r}; choose auto, fp32, bf16 or fp16")
    return _DTYPES[precision]


@cache
def bfloat16_pays() -> bool:
    """Whether this CPU multiplies matrices in bfloat16 at 1.5 times the speed of float32 or more, by trying (50 ms).

    Instructions for it do not tell: with the same ones, one CPU is 2.4 times as fast, and another half as fast.
    """
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    return _product_seconds(torch.float32) > 1.5 * _product_seconds(torch.bfloat16)


def _product_seconds(dtype: torch.dtype) -> float:
    """The least of several tries at the product of two matrices of the sizes of memory attention."""
    left, right = torch.ones(1024, 256, dtype=dtype), torch.ones(256, 1024, dtype=dtype)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def half(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """The context in which torch computes in `dtype` where it deems it safe; nothing changes for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)
