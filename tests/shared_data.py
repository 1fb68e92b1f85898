"""Where tests find the larger files that are not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def shared(path: str) -> Path:
    """The file or folder `path` of the folder `shared/data` beside the project; skips the test where it is absent."""
    found = ROOT / path
    if not found.exists():
        pytest.skip(f"needs ../shared/data/{path}, which is not here")
    return found
