"""Gathers the wheels that `benchmarks.gpu` needs beside torch, for a machine without a network.

    python -m benchmarks.travel .wheels
    bash benchmarks/travel.sh .wheels gpu.json        there

That machine has Python, torch, numpy, OpenCV, Pillow, click, safetensors, huggingface_hub, tqdm, portalocker, PyYAML,
packaging and pytest already, and x86-64 Linux.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

BINARY = ("av", "pycocotools")
PURE = ("sam2", "hydra-core", "omegaconf", "antlr4-python3-runtime", "iopath")
PURE += ("rich", "markdown-it-py", "mdurl", "pygments")
GLIBC = (39, 35, 34, 31, 28, 27, 24, 17)  # 2.N, for which a wheel may be built; pip takes each by name
MOST = 48 * 2**20  # bytes, so that the project goes along in 64 MB


def gather(folder: Path, python: str) -> list[Path]:
    """Fills an empty folder with wheels for that Python, in the versions that are installed here.

    Raises:
        SystemExit: the folder isn't empty, a wheel can't be had, or all together are too large to travel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty; give a new folder")
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in GLIBC] + ["--platform=manylinux2014_x86_64"]
    only = ["--no-deps", "--quiet", "--disable-pip-version-check"]
    _pip("download", *only, "--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms,
         f"--dest={folder}", *map(_here, BINARY))  # fmt: skip
    built = ["--no-binary=sam2", "--no-build-isolation", "--use-pep517", "--no-cache-dir"]
    _pip("wheel", *only, *built, f"--wheel-dir={folder}", *map(_here, PURE))
    wheels = sorted(folder.iterdir())
    if other := [wheel.name for wheel in wheels if not wheel.name.endswith(("-none-any.whl", "x86_64.whl"))]:
        raise SystemExit(f"not for every Python 3, or not for that machine: {', '.join(other)}")
    if (size := sum(wheel.stat().st_size for wheel in wheels)) > MOST:
        raise SystemExit(f"the wheels have {size / 2**20:.0f} MB, more than {MOST / 2**20:.0f}; leave one out")
    return wheels


def _here(name: str) -> str:
    return f"{name}=={version(name)}"


def _pip(*arguments: str) -> None:
    """With what `sam2` needs to be built without a compiler for CUDA."""
    without = os.environ | {"SAM2_BUILD_CUDA": "0"}
    if code := subprocess.run([sys.executable, "-m", "pip", *arguments], env=without, check=False).returncode:
        raise SystemExit(f"pip {arguments[0]} ended with code {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="of the machine without a network")
    options = parser.parse_args()
    for wheel in gather(options.folder, options.python):
        print(f"{wheel.stat().st_size / 2**20:6.1f} MB  {wheel.name}")


if __name__ == "__main__":
    main()
