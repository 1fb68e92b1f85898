"""Simulated prompts: what a user would click or draw, given the true mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from training.types import Array

PromptKind = Literal["mask", "box", "click"]


@dataclass(frozen=True)
class Points:
    """coords (N, P, 2) in pixels, x first; labels (N, P): 1 on, 0 off the object, 2 and 3 a box's corners."""

    coords: Tensor
    labels: Tensor

    def and_then(self, other: Points) -> Points:
        return Points(torch.cat((self.coords, other.coords), 1), torch.cat((self.labels, other.labels), 1))


def centre(mask: Array) -> tuple[int, int]:
    """(x, y) of the maximum of the distance transform."""
    distance = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x), int(y)


def inside(rng: np.random.Generator, mask: Array) -> tuple[int, int]:
    """A pixel of the mask: its centre half the time, else any."""
    ys, xs = np.nonzero(mask)
    if rng.random() < 0.5 or len(ys) == 0:
        return centre(mask)
    pick = rng.integers(len(ys))
    return int(xs[pick]), int(ys[pick])


def box(rng: np.random.Generator, mask: Array, noise: float = 0.06) -> list[tuple[float, float]]:
    ys, xs = np.nonzero(mask)
    corners = np.array([[xs.min(), ys.min()], [xs.max(), ys.max()]], float)
    extent = corners[1] - corners[0]
    corners += rng.uniform(-noise, noise, (2, 2)) * extent * rng.choice((0.0, 0.5, 1.0))
    corners = np.clip(corners, 0, mask.shape[0] - 1)
    return [(float(x), float(y)) for x, y in corners]


def first_prompt(rng: np.random.Generator, kind: PromptKind, masks: Array) -> Points:
    """A box or one click for each of the masks (N, S, S)."""
    if kind == "box":
        coords, labels = [box(rng, mask) for mask in masks], [[2, 3]] * len(masks)
    else:
        coords, labels = [[inside(rng, mask)] for mask in masks], [[1]] * len(masks)
    return Points(torch.tensor(coords, dtype=torch.float32), torch.tensor(labels, dtype=torch.int32))


def correction(rng: np.random.Generator, truth: Array, predicted: Array) -> Points:
    """One click for each object in the larger of its two kinds of error; where there is none, on the object."""
    coords, labels = [], []
    for true, guess in zip(truth, predicted, strict=True):
        missed, extra = true & ~guess, guess & ~true
        positive = missed.sum() >= extra.sum()
        error = missed if positive else extra
        if not error.any():
            error, positive = (true, True) if true.any() else (~true, False)
        coords.append([inside(rng, error)])
        labels.append([int(positive)])
    return Points(torch.tensor(coords, dtype=torch.float32), torch.tensor(labels, dtype=torch.int32))
