"""A pack: many small encoded images in one file, with an index beside it."""

from __future__ import annotations

import json
import mmap
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from training.types import Image


@dataclass(frozen=True)
class Entry:
    """One item: `count` images of the same thing (1, or the views of a turning model), encoded one after another."""

    name: str
    package: str
    kind: str
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.offsets)


class PackWriter:
    """Writes `PATH.bin` and, on `close`, `PATH.json`: a pack without its index is unfinished."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.with_suffix(".bin").open("wb")
        self.entries: list[Entry] = []

    def add(self, name: str, package: str, kind: str, images: list[Image], quality: int = 92) -> None:
        blobs = [cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes() for image in images]
        offsets = []
        for blob in blobs:
            offsets.append(self.file.tell())
            self.file.write(blob)
        self.entries.append(Entry(name, package, kind, tuple(offsets), tuple(map(len, blobs))))

    def close(self) -> None:
        self.file.close()
        self.path.with_suffix(".json").write_text(json.dumps([asdict(entry) for entry in self.entries]))


class Pack:
    """Reads a pack; images are decoded when first asked for, and kept (about 2 GB for all of them)."""

    def __init__(self, path: Path):
        self.decoded: dict[int, Image] = {}
        records = json.loads(path.with_suffix(".json").read_text())
        self.entries = [Entry(**{k: tuple(v) if isinstance(v, list) else v for k, v in r.items()}) for r in records]
        with path.with_suffix(".bin").open("rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, entry: Entry, view: int = 0) -> Image:
        """(H, W, 3) BGR or (H, W, 4) BGRA, uint8, straight alpha."""
        start = entry.offsets[view]
        if start in self.decoded:
            return self.decoded[start]
        blob = np.frombuffer(self.data, np.uint8, entry.sizes[view], start)
        image = cv2.imdecode(blob, cv2.IMREAD_UNCHANGED)
        if image is None:
            raise ValueError(f"{entry.name}: view {view} can't be decoded; build the data again")
        self.decoded[start] = image
        return image
