"""What unit tests share."""

import pytest

from tests.unit.kernels.tolerances import ENGINE_TOLERANCE
from trackmatte.kernels.native import build


def here(engine):
    if engine not in build.engines():
        pytest.skip(f"this machine has no {engine}")
    return engine


@pytest.fixture(params=ENGINE_TOLERANCE)
def engine(request):
    """Each that this machine has, for half formats."""
    return here(request.param)


@pytest.fixture(params=[engine for engine in ENGINE_TOLERANCE if engine.endswith("tiles")])
def tiles(request):
    """Each of tiles that this machine has."""
    return here(request.param)
