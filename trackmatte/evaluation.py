"""Region similarity J and contour accuracy F, as the DAVIS 2017 benchmark defines them.

J is the intersection over union of two masks. F compares their contours: precision is the share of the predicted
contour that lies within a small distance of the true one, recall the reverse, and F their harmonic mean. Each
object's scores are means over its frames without the first and the last; the result is the mean over objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil, hypot
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trackmatte.errors import InputError
from trackmatte.io.masks import is_soft, object_mask, read_labels
from trackmatte.io.stills import UnreadableImage, read_still
from trackmatte.types import BoolArray, UInt8Array

TOLERANCE = 0.008
VOID = 255


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """One object's means over the frames; in 0..1.

    Attributes:
        name: the index in the truth, after the sequence's name where there are several: `1`, `bear/1`.
        j: region similarity.
        f: contour accuracy.
    """

    name: str
    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """The mean of both."""
        return (self.j + self.f) / 2


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of all objects.

    Attributes:
        objects: in the order of the sequences' names, then of the indices.
        frames: how many frames were compared, in all sequences together.
    """

    objects: tuple[ObjectScore, ...]
    frames: int

    @property
    def j(self) -> float:
        """Region similarity, the mean over objects; in 0..1."""
        return sum(entry.j for entry in self.objects) / len(self.objects)

    @property
    def f(self) -> float:
        """Contour accuracy, the mean over objects; in 0..1."""
        return sum(entry.f for entry in self.objects) / len(self.objects)

    def to_json(self) -> dict[str, Any]:
        """`{"J", "F", "J&F", "objects": [{"name", "J", "F", "J&F"}], "frames"}` in percent."""
        objects = [{"name": entry.name, **_percent(entry.j, entry.f)} for entry in self.objects]
        return {**_percent(self.j, self.f), "objects": objects, "frames": self.frames}


def evaluate(prediction: str | Path, truth: str | Path) -> Evaluation:
    """Compares a folder of predicted masks with a folder of true ones.

    Each is a folder of PNGs, indexed or grey, whose values are object indices, or a folder of such folders by the
    names of sequences; the PNGs may also lie in a folder `masks` inside. The objects are those of a sequence's
    first true frame. Pictures of 0 and 255 alone, such as mattes, and soft ones (see `io.masks`) hold one object; else
    255 is nobody's.

    Args:
        prediction: must hold all frames that count, under the same names as the true ones, and no frame but these
            is looked at.
        truth: the frames of a sequence, in the order of their names; the first and the last don't count.

    Raises:
        InputError: a folder, a sequence or a frame is missing, can't be read, or is of another size.
    """
    prediction, truth = Path(prediction), Path(truth)
    scores: list[ObjectScore] = []
    frames = 0
    try:
        for name, guess, true in _sequences(prediction, truth):
            found, count = _evaluate_sequence(name, guess, true)
            scores += found
            frames += count
    except OSError as exc:
        raise InputError(f"{exc.filename} can't be read ({exc.strerror}); check its permissions") from exc
    return Evaluation(tuple(scores), frames)


def region_similarity(pred: BoolArray, truth: BoolArray) -> float:
    """J: intersection over union of two (H, W) bool masks, in 0..1; 1 where both are empty."""
    union = int(np.count_nonzero(pred | truth))
    return int(np.count_nonzero(pred & truth)) / union if union else 1.0


def boundary_f(pred: BoolArray, truth: BoolArray) -> float:
    """F: how well the contours of two (H, W) bool masks agree, in 0..1.

    Contours agree up to a distance of 0.008 of the picture's diagonal, rounded up to whole pixels. Where both masks
    have no contour F is 1, where one has none it is 0.
    """
    guess, true = _contour(pred), _contour(truth)
    guess_length, true_length = cv2.countNonZero(guess), cv2.countNonZero(true)
    if not guess_length or not true_length:
        return float(guess_length == true_length)
    top, bottom, left, right = _extent(guess | true)
    guess, true = guess[top:bottom, left:right], true[top:bottom, left:right]
    disk = _disk(ceil(TOLERANCE * hypot(*truth.shape)))
    precision = cv2.countNonZero(cv2.bitwise_and(guess, cv2.dilate(true, disk))) / guess_length
    recall = cv2.countNonZero(cv2.bitwise_and(true, cv2.dilate(guess, disk))) / true_length
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _contour(mask: BoolArray) -> UInt8Array:
    """(H, W) uint8: 1 where a pixel differs from its neighbour to the right, below, or right below."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    differs: BoolArray = (here != padded[:-1, 1:]) | (here != padded[1:, :-1]) | (here != padded[1:, 1:])
    return differs.view(np.uint8)


def _extent(mask: UInt8Array) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the box around a mask."""
    x, y, width, height = cv2.boundingRect(mask)
    return y, y + height, x, x + width


@cache
def _disk(radius: int) -> UInt8Array:
    """(2 * radius + 1, 2 * radius + 1) uint8: 1 at distances up to the radius from the middle."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk: UInt8Array = (x * x + y * y <= radius * radius).astype(np.uint8)
    return disk


def _sequences(prediction: Path, truth: Path) -> Iterator[tuple[str, dict[str, Path], dict[str, Path]]]:
    """Name ('' for the only one), predicted frames and true frames of each sequence."""
    for folder in (prediction, truth):
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give a folder of PNG masks")
    if alone := _pictures(truth):
        yield "", _found(_pictures(prediction), prediction), alone
        return
    folders = sorted(folder for folder in truth.iterdir() if folder.is_dir() and _pictures(folder))
    if not folders:
        raise InputError(f"{truth} holds no PNG masks; give a folder of PNGs, or of folders of PNGs")
    for folder in folders:
        guess = prediction / folder.name
        yield folder.name, _found(_pictures(guess), guess), _pictures(folder)


def _found(pictures: dict[str, Path], folder: Path) -> dict[str, Path]:
    if not pictures:
        raise InputError(f"{folder} holds no PNG masks; give predictions for every sequence of the truth")
    return pictures


def _pictures(folder: Path) -> dict[str, Path]:
    """The PNGs of a folder, or of `masks` inside it, by their names without suffix, in order."""
    for place in (folder, folder / "masks"):
        if found := {path.stem: path for path in sorted(place.glob("*.png"))}:
            return found
    return {}


def _evaluate_sequence(name: str, prediction: dict[str, Path], truth: dict[str, Path]) -> tuple[list[ObjectScore], int]:
    """The scores of a sequence's objects, and how many frames count."""
    stems = list(truth)
    where = truth[stems[0]].parent
    if len(stems) < 3:
        raise InputError(f"{where} holds {len(stems)} frames; the first and the last don't count, so give 3 or more")
    indices = [int(index) for index in np.unique(_read(truth[stems[0]])) if index]
    if not indices:
        raise InputError(f"{truth[stems[0]]} is empty; the first frame must show the objects that count")
    sums = np.zeros((len(indices), 2))
    for stem in stems[1:-1]:
        if stem not in prediction:
            folder = next(iter(prediction.values())).parent
            raise InputError(f"{folder} has no frame {stem}.png; give a prediction for every frame of {where}")
        guess, true = _read(prediction[stem]), _read(truth[stem])
        if guess.shape != true.shape:
            sizes = f"{guess.shape[1]}x{guess.shape[0]}, the truth {true.shape[1]}x{true.shape[0]}"
            raise InputError(f"{prediction[stem]} is {sizes}; give predictions of the truth's size")
        for row, index in enumerate(indices):
            pair = guess == index, true == index
            sums[row] += region_similarity(*pair), boundary_f(*pair)
    count = len(stems) - 2
    prefix = f"{name}/" if name else ""
    means = zip(indices, sums / count, strict=True)
    return [ObjectScore(f"{prefix}{index}", float(j), float(f)) for index, (j, f) in means], count


def _read(path: Path) -> UInt8Array:
    """(H, W) uint8 of object indices. Raises InputError."""
    try:
        still = read_still(path)
    except UnreadableImage as exc:
        raise InputError(f"{path} can't be read as a PNG ({exc}); give an indexed or an 8-bit grey PNG") from exc
    labels = read_labels(still)
    if labels is None and still.palette is not None:
        return object_mask(still).astype(np.uint8)
    grey = still.pixels if labels is None else labels
    if grey.ndim != 2 or grey.dtype != np.uint8 or still.alpha is not None:
        raise InputError(f"{path} is no indexed and no 8-bit grey picture; give an indexed or an 8-bit grey PNG")
    if labels is None and not grey.min() and is_soft(grey, 255):
        return np.asarray(grey >= 128, np.uint8)
    pixels: UInt8Array = grey.copy()
    values = np.unique(pixels)
    if VOID in values:
        pixels[pixels == VOID] = 1 if set(values.tolist()) <= {0, VOID} else 0
    return pixels


def _percent(j: float, f: float) -> dict[str, float]:
    return {"J": round(100 * j, 3), "F": round(100 * f, 3), "J&F": round(50 * (j + f), 3)}
