"""What errors of too little memory say."""

import numpy as np
import pytest
import torch

from trackmatte.memory import peak_memory_mb, shortage


def test_what_was_wanted_is_said():
    with pytest.raises(MemoryError) as caught:
        np.zeros((1 << 24, 1 << 24))
    assert f"{(1 << 51) / 1e6:.0f} MB more were wanted" in shortage(caught.value)
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(1 << 48)
    assert f"{(1 << 50) / 1e6:.0f} MB more were wanted" in shortage(caught.value)


def test_other_errors_are_none():
    assert shortage(RuntimeError("shapes don't match")) is None
    assert shortage(OSError(2, "No such file or directory")) is None


def test_memory_that_is_used_counts():
    block = np.ones(50_000_000)
    assert peak_memory_mb() > block.nbytes / 1e6
