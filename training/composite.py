"""Short clips with exact masks: cut-outs that move, turn, bend and hide one another over photographs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path as FilePath

import cv2
import numpy as np

from training.camera import Grade, film
from training.motion import (
    Path,
    camera_path,
    crossing_path,
    diagonal,
    leave_and_return,
    object_path,
    rotation,
    wave,
)
from training.pack import Entry, Pack
from training.types import Array, Image

KIND_WEIGHTS = {"photo": 0.40, "drawn": 0.10, "mesh": 0.28, "patch": 0.22}
FAVOURED = {"tuxpaint-stamps-default": 3, "wesnoth-1.16-data": 2}
HELD_OUT_EVERY = 20
VISIBLE = 0.0015  # the part of the picture that an object must fill to be prompted


@dataclass(frozen=True)
class Clip:
    """`frames` (T, S, S, 3) uint8 RGB; `masks` (T, O, S, S) bool, the visible part of each object."""

    frames: Image
    masks: Array

    def backwards(self) -> Clip:
        return Clip(self.frames[::-1], self.masks[::-1])

    def still(self, frame: int) -> Clip:
        return Clip(self.frames[frame : frame + 1], self.masks[frame : frame + 1])

    def seen_first(self) -> list[int]:
        """The objects that can be prompted in frame 0."""
        return [i for i, mask in enumerate(self.masks[0]) if mask.mean() > VISIBLE]

    def choose(self, rng: np.random.Generator, count: int) -> Array:
        """(count, T, S, S) masks of objects that are seen in frame 0; the same one again where there are too few."""
        seen = self.seen_first()
        rng.shuffle(seen)
        return self.masks[:, (seen * count)[:count]].swapaxes(0, 1)


@dataclass
class Layer:
    """Something drawn in the picture. `views` are premultiplied float BGRA; `order[t]` is the view shown at frame t."""

    views: list[Array]
    order: Array
    path: Path
    owner: int  # number of the object that it belongs to; -1: it only hides others
    soft: float = 0.0
    shadow: float = 0.0
    gain: Array = field(default_factory=lambda: np.ones(1))  # (T,) brightness


class Scene:
    """Draws clips. `seed` makes the sequence of clips repeatable. `leaving`: how often an object goes away."""

    def __init__(self, data: FilePath, seed: int, held_out: bool = False, leaving: float = 0.4):
        self.rng = np.random.default_rng(seed)
        self.leaving = leaving
        self.cutouts = Pack(data / "cutouts")
        self.backgrounds = Pack(data / "backgrounds")
        self.turntables = Pack(data / "turntables") if (data / "turntables.json").exists() else None
        self.photos = split(self.backgrounds.entries, held_out)
        self.models = split(self.turntables.entries, held_out) if self.turntables else []
        self.by_kind: dict[str, list[Entry]] = {"photo": [], "drawn": []}
        for entry in split(self.cutouts.entries, held_out):
            self.by_kind[entry.kind] += [entry] * FAVOURED.get(entry.package, 1)
        kinds = [k for k in KIND_WEIGHTS if k != "mesh" or self.turntables]
        weights = np.array([KIND_WEIGHTS[k] for k in kinds])
        self.kinds, self.kind_weights = kinds, weights / weights.sum()

    def clip(self, frames: int, size: int) -> Clip:
        """A clip whose first object is visible in frame 0."""
        while True:
            layers, background = self.stage(frames, size)
            masks, pictures = self.draw(layers, background, frames, size)
            if masks[0, 0].mean() > VISIBLE:
                return Clip(film(self.rng, pictures, Grade.random(self.rng)), masks)

    # what is in the picture

    def stage(self, frames: int, size: int) -> tuple[list[Layer], Layer]:
        rng = self.rng
        squeeze = float(np.sqrt(rng.choice((9 / 16, 3 / 4, 1.0, 4 / 3), p=(0.6, 0.15, 0.15, 0.1))))
        pace = float(rng.choice((0.3, 0.7, 1.2, 2.0), p=(0.2, 0.35, 0.3, 0.15)))
        target_size = float(np.exp(rng.uniform(np.log(0.22), np.log(1.0))))
        target = self.layer(frames, size, object_path(rng, frames, size=target_size, squeeze=squeeze, pace=pace), 0)
        if rng.random() < self.leaving:
            leave_and_return(rng, target.path)
        layers = [target]
        for _ in range(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1))):
            layers.insert(rng.integers(len(layers) + 1), self.part(frames, size, target))
        for number in range(1, 1 + rng.choice(4, p=(0.1, 0.4, 0.3, 0.2))):
            self.add_distractor(layers, target, frames, size, squeeze, pace, target_size, number)
        if rng.random() < 0.35:
            crossing = crossing_path(rng, target.path, size=target_size * rng.uniform(0.3, 1.6), squeeze=squeeze)
            layers.append(self.layer(frames, size, crossing, -1))
        background = self.background(frames, size, squeeze)
        if rng.random() < 0.5:
            self.carry_along(layers, background.path)
        return layers, background

    def add_distractor(
        self,
        layers: list[Layer],
        target: Layer,
        frames: int,
        size: int,
        squeeze: float,
        pace: float,
        target_size: float,
        number: int,
    ) -> None:
        """Another object, before or behind the target; sometimes the same cut-out again."""
        rng = self.rng
        own = float(np.clip(target_size * np.exp(rng.normal(0, 0.5)), 0.1, 0.9))
        path = object_path(rng, frames, size=own, squeeze=squeeze, pace=pace)
        if rng.random() < self.leaving:
            leave_and_return(rng, path)
        layer = self.layer(frames, size, path, number, like=target if rng.random() < 0.35 else None)
        layers.insert(0 if rng.random() < 0.6 else len(layers), layer)

    def carry_along(self, layers: list[Layer], camera: Path) -> None:
        """Let the objects stand in the scene: the camera's motion moves them too."""
        for layer in layers:
            layer.path.centre = layer.path.centre + (camera.centre - camera.centre[:1])

    def layer(self, frames: int, size: int, path: Path, owner: int, like: Layer | None = None) -> Layer:
        rng = self.rng
        if like is None:
            extent = np.abs(np.linalg.det(path.matrix)).max() ** 0.5
            views, order = self.views(frames, max(24, int(1.3 * extent * size)))
        else:
            views, order = like.views, like.order
        return Layer(
            views,
            order,
            path,
            owner,
            soft=float(rng.choice((0.0, 0.5, 0.8, 1.2), p=(0.35, 0.3, 0.25, 0.1))) * size / 256,
            shadow=float(rng.uniform(0.2, 0.6)) if rng.random() < 0.25 else 0.0,
            gain=1 + wave(rng, frames, 0.12 if rng.random() < 0.5 else 0.0, 0.5),
        )

    def part(self, frames: int, size: int, parent: Layer) -> Layer:
        """A limb: a second cut-out that hangs on the target, swings, and counts as the target."""
        rng = self.rng
        scale = np.exp(wave(rng, frames, 0.06, 0.5)) * rng.uniform(0.35, 0.8)
        matrix = rotation(rng.uniform(0, 6.3) + wave(rng, frames, 0.5, 0.7)) @ diagonal(scale, scale)
        offset = rng.uniform(-0.7, 0.7, 2) + np.stack([wave(rng, frames, 0.08, 0.6) for _ in (0, 1)], -1)
        return self.layer(frames, size, parent.path.attached(offset, matrix), parent.owner)

    def background(self, frames: int, size: int, squeeze: float) -> Layer:
        rng = self.rng
        entry = self.photos[rng.integers(len(self.photos))]
        path = camera_path(rng, frames, squeeze)
        image = self.backgrounds.image(entry)
        image = image[:, ::-1] if rng.random() < 0.5 else image
        extent = np.abs(np.linalg.det(path.matrix)).max() ** 0.5
        view = shrink(np.ascontiguousarray(image), int(1.1 * extent * size)).astype(np.float32) / 255
        return Layer([self.recolour(view, None)], np.zeros(frames, int), path, -1)

    # what it looks like

    def views(self, frames: int, side: int) -> tuple[list[Array], Array]:
        """Premultiplied views of a random thing, about `side` pixels long, and which of them each frame shows."""
        rng = self.rng
        kind = rng.choice(self.kinds, p=self.kind_weights)
        order = np.zeros(frames, int)
        if kind == "mesh" and self.turntables is not None:
            entry = self.models[rng.integers(len(self.models))]
            turn = rng.uniform(0, entry.count) + np.cumsum(rng.normal(0, 0.9) + wave(rng, frames, 0.5, 0.5))
            shown = np.round(turn).astype(int) % entry.count
            numbers, order = np.unique(shown, return_inverse=True)
            images = [self.turntables.image(entry, int(n)) for n in numbers]
        elif kind == "patch":
            images = [self.patch()]
        else:
            entries = self.by_kind[kind]
            images = [self.cutouts.image(entries[rng.integers(len(entries))])]
        floats = [premultiply(shrink(image, side)) for image in images]
        state = rng.bit_generator.state
        tinted = []
        for view in floats:  # all views of a thing get the same colours
            rng.bit_generator.state = state
            tinted.append(self.recolour(view[..., :3], view[..., 3:]))
        if rng.random() < 0.45:
            self.dress(tinted, floats)
        return [np.concatenate((c, v[..., 3:]), -1) for c, v in zip(tinted, floats, strict=True)], order

    def dress(self, colours: list[Array], views: list[Array]) -> None:
        """Give one to three bands of a thing other colours, in place, as clothes do; the same in all its views.

        Without it, a person is followed as the shirt alone: most cut-outs are of one colour.
        """
        rng = self.rng
        angle = np.pi / 2 + rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(0, 6.3)
        edges = np.sort(rng.uniform(-0.7, 0.7, rng.integers(1, 4)))
        wide, slow, phase = rng.uniform(0, 0.15), rng.uniform(1, 6), rng.uniform(0, 6.3)
        bands = [b for b in range(len(edges) + 1) if rng.random() < 0.6]
        cloths = {b: self.cloth(max(max(v.shape[:2]) for v in views)) for b in bands}
        for colour, view in zip(colours, views, strict=True):
            height, width = view.shape[:2]
            y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
            along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            band = np.digitize(along + wide * np.sin(slow * across + phase), edges)
            shade = 0.6 + 0.8 * colour.mean(-1, keepdims=True) / np.maximum(view[..., 3:], 1e-3)
            for number, cloth in cloths.items():
                dressed = np.minimum(cloth[:height, :width] * shade, 1) * view[..., 3:]
                colour[...] = np.where((band == number)[..., None], dressed, colour)

    def cloth(self, side: int) -> Array:
        """(side, side, 3) float32: one colour, stripes of two, or a piece of a photograph."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.35:
            photo = self.backgrounds.image(self.photos[rng.integers(len(self.photos))])
            part = int(rng.uniform(0.2, 0.8) * min(photo.shape[:2]))
            y, x = rng.integers(0, photo.shape[0] - part + 1), rng.integers(0, photo.shape[1] - part + 1)
            piece = cv2.resize(photo[y : y + part, x : x + part], (side, side), interpolation=cv2.INTER_AREA)
            return piece.astype(np.float32) / 255
        first, second = rng.beta(0.8, 0.8, (2, 3)).astype(np.float32)
        if kind < 0.85:
            return np.broadcast_to(first, (side, side, 3))
        stripes = np.arange(side) * rng.uniform(4, 24) / side % 1 < rng.uniform(0.2, 0.8)
        return np.broadcast_to(np.where(stripes[:, None, None], first, second), (side, side, 3))

    def patch(self) -> Image:
        """A piece of a photograph with a random smooth outline."""
        rng = self.rng
        photo = self.backgrounds.image(self.photos[rng.integers(len(self.photos))])
        side = int(rng.uniform(0.3, 0.95) * min(photo.shape[:2]))
        y, x = rng.integers(0, photo.shape[0] - side + 1), rng.integers(0, photo.shape[1] - side + 1)
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        radius = np.ones(96)
        for k in range(1, 8):
            radius += rng.normal(0, 0.42) / k**0.9 * np.cos(k * angle + rng.uniform(0, 6.3))
        radius = np.clip(radius, 0.15, None)
        points = np.stack((radius * np.cos(angle), radius * np.sin(angle) * rng.uniform(0.35, 1.0)), -1)
        points = points / np.abs(points).max() * (side / 2 - 2) + side / 2
        if rng.random() < 0.3:
            points = points[:: int(rng.integers(6, 18))]
        alpha = np.zeros((side, side), np.uint8)
        cv2.fillPoly(alpha, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return np.dstack((photo[y : y + side, x : x + side], alpha))

    def recolour(self, colour: Array, alpha: Array | None) -> Array:
        """Random gain and contrast for each channel; premultiplied colours stay below their alpha."""
        rng = self.rng
        if rng.random() < 0.3:
            return colour
        gain = np.exp(rng.normal(0, 0.22) + rng.normal(0, 0.10, 3)).astype(np.float32)
        lift = np.float32(rng.normal(0, 0.05))
        top = np.float32(1) if alpha is None else alpha
        grey = colour.mean(-1, keepdims=True)
        colour = grey + (colour - grey) * np.float32(rng.uniform(0.3, 1.3))
        return np.clip(colour * gain + lift * top, 0, top).astype(np.float32)

    # drawing

    def draw(self, layers: list[Layer], background: Layer, frames: int, size: int) -> tuple[Array, list[Array]]:
        """Visible masks (T, K, S, S) bool and pictures (S, S, 3) float BGR in [0, 1]."""
        count = 1 + max(layer.owner for layer in layers)
        masks, pictures = np.zeros((frames, count, size, size), bool), []
        for t in range(frames):
            picture = sample(background, t, size)[..., :3]
            cover = np.zeros((count, size, size), np.float32)
            for layer in layers:
                drawn = sample(layer, t, size)
                alpha = drawn[..., 3:]
                if layer.shadow:
                    picture = cast_shadow(picture, alpha, layer.shadow)
                picture = picture * (1 - alpha) + drawn[..., :3] * np.float32(layer.gain[min(t, len(layer.gain) - 1)])
                cover *= 1 - alpha[..., 0]
                if layer.owner >= 0:
                    cover[layer.owner] += alpha[..., 0]
            masks[t] = cover > 0.5
            pictures.append(np.clip(picture, 0, 1))
        return masks, pictures


def split(entries: list[Entry], held_out: bool) -> list[Entry]:
    """Every twentieth item is never trained on; held-out composites are made of those alone."""
    return [e for i, e in enumerate(entries) if (i % HELD_OUT_EVERY == 0) == held_out]


def shrink(image: Image, side: int) -> Image:
    """Smaller, so that sampling it doesn't alias; never larger."""
    scale = side / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def premultiply(image: Image) -> Array:
    out = image.astype(np.float32) / 255
    out[..., :3] *= out[..., 3:]
    return out


def sample(layer: Layer, frame: int, size: int) -> Array:
    """The layer as it appears at a frame: (S, S, 3 or 4) float32, premultiplied."""
    view = layer.views[layer.order[frame]]
    height, width = view.shape[:2]
    longest = max(height, width) if view.shape[2] == 4 else min(height, width)
    grid = layer.path.source(frame, size) * np.float32(longest / 2)
    x, y = grid[..., 0] + np.float32(width / 2 - 0.5), grid[..., 1] + np.float32(height / 2 - 0.5)
    border = cv2.BORDER_CONSTANT if view.shape[2] == 4 else cv2.BORDER_REFLECT_101
    out = cv2.remap(view, x, y, cv2.INTER_LINEAR, borderMode=border)
    return cv2.GaussianBlur(out, (0, 0), layer.soft) if layer.soft > 0.2 else out


def cast_shadow(picture: Array, alpha: Array, strength: float) -> Array:
    size = alpha.shape[0]
    moved = np.roll(alpha[..., 0], (size // 24, size // 32), (0, 1))
    dark = cv2.blur(moved, (size // 12, size // 12))[..., None]
    return picture * (1 - np.float32(strength) * dark)
