"""Smooth random motion: where a layer is, frame by frame, and how it is turned, sized and bent."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.types import Array

GRID = 12  # cells of the coarse sampling grid across the picture


def wave(rng: np.random.Generator, frames: int, amplitude: float, speed: float) -> Array:
    """(frames,) a smooth random function around 0; `speed` in radians a frame."""
    t = np.arange(frames)
    out = np.zeros(frames)
    for octave in (1, 2, 3):
        out += np.sin(rng.uniform(0.3, 1.0) * speed * octave * t + rng.uniform(0, 2 * np.pi)) / octave
    return amplitude * out / 1.5


@dataclass
class Path:
    """One layer's motion in the picture, whose corners are (-1, -1) and (1, 1); first axis of each array is the frame.

    `matrix` maps the layer, longest side 2, to the picture. `tilt` are perspective terms. `bend` are the travelling
    waves that deform it: amplitude, wave vector (x, y), phase, radians a frame, and direction of the shift (x, y).
    """

    centre: Array  # (T, 2)
    matrix: Array  # (T, 2, 2)
    tilt: Array  # (T, 2)
    bend: Array  # (waves, 7)

    def source(self, frame: int, size: int) -> Array:
        """(size, size, 2) float32, the layer's coordinates in [-1, 1] (beyond it: outside) under each pixel."""
        cell = 2.0 / GRID
        axis = -1 - cell + cell * (np.arange(GRID + 2) + 0.5)
        x, y = np.meshgrid(axis - self.centre[frame, 0], axis - self.centre[frame, 1])
        inverse = np.linalg.inv(self.matrix[frame])
        u = inverse[0, 0] * x + inverse[0, 1] * y
        v = inverse[1, 0] * x + inverse[1, 1] * y
        depth = np.clip(1 + self.tilt[frame, 0] * u + self.tilt[frame, 1] * v, 0.3, 3)
        u, v = u / depth, v / depth
        for amplitude, kx, ky, phase, speed, dx, dy in self.bend:
            shift = amplitude * np.sin(kx * u + ky * v + phase + speed * frame)
            u, v = u + dx * shift, v + dy * shift
        return enlarge(np.stack((u, v), -1).astype(np.float32), size)

    def attached(self, offset: Array, matrix: Array) -> Path:
        """The path of a part at `offset` (T, 2) in this layer's coordinates, with `matrix` (T, 2, 2) of its own."""
        centre = self.centre + np.einsum("tij,tj->ti", self.matrix, offset)
        return Path(centre, self.matrix @ matrix, np.zeros_like(self.tilt), self.bend)


def enlarge(grid: Array, size: int) -> Array:
    """Bilinear upsampling of a coarse grid that reaches one cell beyond the picture on each side."""
    cell = size / GRID
    full = round(size + 2 * cell)
    big = cv2.resize(grid, (full, full), interpolation=cv2.INTER_LINEAR)
    start = (full - size) // 2
    return big[start : start + size, start : start + size]


def bends(rng: np.random.Generator, strength: float) -> Array:
    """(waves, 7) travelling waves; see `Path.bend`."""
    rows = []
    for _ in range(rng.integers(1, 4)):
        k = rng.normal(0, 2.2, 2)
        angle = rng.uniform(0, 2 * np.pi)
        limit = 0.6 / (np.hypot(*k) + 0.5)  # a steeper wave would fold the layer
        amplitude = min(strength * rng.uniform(0.3, 1.0), limit)
        rows.append((amplitude, *k, rng.uniform(0, 6.3), rng.normal(0, 0.45), np.cos(angle), np.sin(angle)))
    return np.array(rows)


def rotation(angle: Array) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack((np.stack((c, -s), -1), np.stack((s, c), -1)), -2)


def diagonal(x: Array, y: Array) -> Array:
    zero = np.zeros_like(x)
    return np.stack((np.stack((x, zero), -1), np.stack((zero, y), -1)), -2)


def object_path(rng: np.random.Generator, frames: int, *, size: float, squeeze: float, pace: float) -> Path:
    """An object's own motion. `size`: half its longest side, in half pictures. `pace`: 1 is ordinary, 0 is still."""
    t = np.arange(frames) - rng.uniform(0, frames)
    reach = max(0.25, 1.0 - 0.6 * size)
    start = rng.uniform(-reach, reach, 2)
    drift = rng.normal(0, 0.035, 2) * pace
    centre = np.stack([start[i] + drift[i] * t + wave(rng, frames, 0.10 * pace, 0.5) for i in (0, 1)], -1)
    growth = np.exp(rng.normal(0, 0.03) * pace * t + wave(rng, frames, 0.10 * pace, 0.5))
    angle = rng.normal(0, 0.25) + rng.normal(0, 0.03) * pace * t + wave(rng, frames, 0.12 * pace, 0.6)
    flat_x = np.exp(wave(rng, frames, 0.12 * pace, 0.6))
    if rng.random() < 0.15:  # turn about the upright axis, as a card would
        flat_x = flat_x * np.cos(rng.uniform(-0.3, 0.3) + rng.normal(0, 0.10) * pace * t)
        flat_x = np.where(np.abs(flat_x) < 0.25, np.copysign(0.25, flat_x), flat_x)
    shear = wave(rng, frames, 0.10 * pace, 0.5)
    flat_y = np.exp(wave(rng, frames, 0.08 * pace, 0.6))
    mirror = rng.choice((-1.0, 1.0))
    own = diagonal(mirror * size * growth * flat_x, size * growth * flat_y)
    own[:, 0, 1] = shear * size
    aspect = diagonal(np.full(frames, squeeze), np.full(frames, 1 / squeeze))
    tilt = np.stack([rng.normal(0, 0.05) + wave(rng, frames, 0.06 * pace, 0.4) for _ in range(2)], -1)
    strength = rng.choice((0.0, 0.06, 0.12, 0.2), p=(0.3, 0.3, 0.25, 0.15))
    return Path(centre, aspect @ rotation(angle) @ own, tilt, bends(rng, strength))


def leave_and_return(rng: np.random.Generator, path: Path) -> None:
    """Bend the path so that the object leaves the picture after its first frame, and perhaps comes back."""
    frames = len(path.centre)
    first, length = rng.integers(1, max(2, frames - 1)), rng.uniform(1.0, 6.0)
    t = np.clip((np.arange(frames) - first + 1) / length, 0, 2)
    bump = np.where(t < 1, t, 2 - t) if rng.random() < 0.7 else np.minimum(t, 1)
    angle = rng.uniform(0, 2 * np.pi)
    path.centre += bump[:, None] * rng.uniform(1.5, 3.5) * np.array([np.cos(angle), np.sin(angle)])


def crossing_path(rng: np.random.Generator, target: Path, *, size: float, squeeze: float) -> Path:
    """The path of something that passes in front of `target`."""
    frames = len(target.centre)
    path = object_path(rng, frames, size=size, squeeze=squeeze, pace=0.4)
    angle = rng.uniform(0, 2 * np.pi)
    meeting = rng.uniform(0.5, frames)
    sweep = (np.arange(frames) - meeting)[:, None] * rng.uniform(0.05, 0.30) * np.array([np.cos(angle), np.sin(angle)])
    path.centre = target.centre + sweep + rng.normal(0, 0.1, 2)
    return path


def camera_path(rng: np.random.Generator, frames: int, squeeze: float) -> Path:
    """The background's motion; it always covers the picture."""
    pace = rng.choice((0.0, 0.3, 1.0, 1.8), p=(0.2, 0.3, 0.35, 0.15))
    zoom = np.exp(rng.normal(0, 0.012) * pace * np.arange(frames) + wave(rng, frames, 0.03 * pace, 0.4))
    own = diagonal(zoom, zoom) * rng.uniform(1.35, 2.6)
    angle = rng.normal(0, 0.05) + wave(rng, frames, 0.03 * pace, 0.4)
    aspect = diagonal(np.full(frames, squeeze), np.full(frames, 1 / squeeze))
    t = np.arange(frames) - frames / 2
    drift = rng.normal(0, 0.03, 2) * pace
    centre = np.stack([drift[i] * t + wave(rng, frames, 0.05 * pace, 0.5) for i in (0, 1)], -1)
    return Path(centre, aspect @ rotation(angle) @ own, np.zeros((frames, 2)), np.zeros((0, 7)))
