"""What a camera and a codec do to a picture: exposure, blur, noise, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.motion import wave
from training.types import Array, Image


@dataclass(frozen=True)
class Grade:
    """How a clip was filmed. Blurs in pixels of a 256-pixel picture; `quality` is JPEG's, 0 for none."""

    gamma: float
    flicker: float
    defocus: float
    smear: float
    smear_angle: float
    noise: float
    quality: int

    @staticmethod
    def random(rng: np.random.Generator) -> Grade:
        return Grade(
            gamma=float(np.exp(rng.normal(0, 0.2))),
            flicker=float(rng.choice((0.0, 0.05, 0.15), p=(0.5, 0.35, 0.15))),
            defocus=float(rng.uniform(0.4, 1.6)) if rng.random() < 0.25 else 0.0,
            smear=float(rng.uniform(2, 9)) if rng.random() < 0.15 else 0.0,
            smear_angle=float(rng.uniform(0, np.pi)),
            noise=float(rng.uniform(0.004, 0.035)) if rng.random() < 0.5 else 0.0,
            quality=int(rng.integers(25, 95)) if rng.random() < 0.6 else 0,
        )


def film(rng: np.random.Generator, pictures: list[Array], grade: Grade) -> Image:
    """(T, S, S, 3) uint8 RGB from float BGR pictures."""
    size = pictures[0].shape[0]
    exposure = 1 + wave(rng, len(pictures), grade.flicker, 0.6)
    blurry = rng.random(len(pictures)) < 0.6
    kernel = smear_kernel(grade, size) if grade.smear else None
    out = np.empty((len(pictures), size, size, 3), np.uint8)
    for t, picture in enumerate(pictures):
        picture = np.clip(picture * np.float32(exposure[t]), 0, 1) ** np.float32(grade.gamma)
        if kernel is not None and blurry[t]:
            picture = cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT)
        sigma = grade.defocus * size / 256
        if sigma > 0.2:
            picture = cv2.GaussianBlur(picture, (0, 0), sigma)
        if grade.noise:
            picture = picture + np.float32(grade.noise) * rng.standard_normal(picture.shape, np.float32)
        frame = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
        if grade.quality:
            coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, grade.quality])[1]
            frame = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        out[t] = frame[..., ::-1]
    return out


def smear_kernel(grade: Grade, size: int) -> Array:
    """A line of the length and direction of the motion blur, summing to 1."""
    length = max(1.0, grade.smear * size / 256)
    side = int(2 * np.ceil(length / 2) + 1)
    kernel = np.zeros((side, side), np.float32)
    centre = (side - 1) / 2
    dx, dy = np.cos(grade.smear_angle) * length / 2, np.sin(grade.smear_angle) * length / 2
    ends = [(round((centre + s * dx) * 256), round((centre + s * dy) * 256)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 8)
    return kernel / max(kernel.sum(), 1e-6)
