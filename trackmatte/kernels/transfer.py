"""To a device without waiting for it, and back, waiting as late as can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def upload(values: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """A copy on the device, which is asked for and not waited for; the caller may change the values at once.

    CUDA copies on its own only from memory that stays in its place, so the values are copied there first; MPS waits.
    """
    if device.type != "cuda":
        return torch.tensor(np.ascontiguousarray(values)).to(device, non_blocking=device.type != "mps")
    host = torch.empty(values.shape, dtype=torch.from_numpy(np.empty(0, values.dtype)).dtype, pin_memory=True)
    np.copyto(host.numpy(), values)
    return host.to(device, non_blocking=True)


class Download:
    """Bytes on their way from a device; on a CPU they are there at once."""

    def __init__(self, values: torch.Tensor) -> None:
        """Asks for a copy. Args: values: (N,) uint8."""
        self._event: torch.cuda.Event | None = None
        if values.device.type != "cuda":
            self._host = values.cpu()
            return
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._host.copy_(values, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(values.device))

    def wait(self) -> npt.NDArray[np.uint8]:
        """(N,), once they are there."""
        if self._event is not None:
            self._event.synchronize()
        return np.asarray(self._host.numpy())
