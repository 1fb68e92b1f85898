"""To a device without waiting for it."""

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
