"""Names for the arrays that pass through the training."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) BGR or (H, W, 4) BGRA."""

Array: TypeAlias = npt.NDArray[Any]
