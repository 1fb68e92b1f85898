"""How far a kernel may be from its eager twin, by format: a share of the largest magnitude of the twin's result."""

import torch

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
ENGINE_TOLERANCE = {  # of our own kernels, by what multiplies
    "float16 lanes": 5e-3,  # sums of up to 128 products are float16, too
    "float16 tiles": TOLERANCE[torch.float16],
    "bfloat16 tiles": TOLERANCE[torch.bfloat16],
}


def distance(found, expected):
    """The largest difference, as a share of the largest magnitude."""
    assert found.shape == expected.shape
    return ((found.float() - expected.float()).abs().max() / expected.float().abs().max()).item()
