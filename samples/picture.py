"""The README's picture, from what its first command wrote: overlay, matte, and alpha over a checkerboard.

python samples/picture.py out docs/bunny.jpg
"""

import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

FRAMES = (0, 43, 88, 131)
SIZE = (480, 270)


def pictures(path: Path) -> list[np.ndarray]:
    """(H, W, 4) RGBA of the frames shown, small."""
    with av.open(str(path)) as container:
        wanted = [frame for i, frame in enumerate(container.decode(video=0)) if i in FRAMES]
        return [frame.reformat(*SIZE, format="rgba").to_ndarray() for frame in wanted]


def over_checkerboard(picture: np.ndarray) -> np.ndarray:
    y, x = np.indices(picture.shape[:2]) // 12
    board = np.where((x + y) % 2, 200, 150)[..., None]
    alpha = picture[..., 3:] / 255
    return (picture[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)


def main(folder: Path, picture: Path) -> None:
    overlay = [p[..., :3] for p in pictures(folder / "overlay.mp4")]
    matte = [p[..., :3] for p in pictures(folder / "matte.mp4")]
    alpha = [over_checkerboard(p) for p in pictures(folder / "alpha.mov")]
    rows = [np.concatenate(row, axis=1) for row in (overlay, matte, alpha)]
    picture.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(picture, quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
