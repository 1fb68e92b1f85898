"""What all tests share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def sample():
    """The clip that ships with the project: 132 frames of 1280x720 with sound."""
    return ROOT / "samples" / "bunny.mp4"


@pytest.fixture(scope="session")
def trackmatte():
    """Runs the command line in a process of its own."""

    def run(*arguments, cwd=None, **options):
        return subprocess.run(
            [sys.executable, "-m", "trackmatte", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            **options,
        )

    return run
