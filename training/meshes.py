"""Render 3D models as they turn: views with exact masks, which flat cut-outs can't give.

A model is a cloud of points sampled on its surface, each with its colour and normal; a view is that cloud, drawn from
far to near. That needs neither a GPU nor a loop over triangles.
"""

from __future__ import annotations

import io
import random
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from training.pack import Pack, PackWriter
from training.types import Array, Image

VIEWS = 16
SIDE = 192
OVERSAMPLING = 1.25
POINTS = 150_000
LARGEST = 3_500_000  # bytes of an .obj
MODELS = 260
SEED = 2
LIVELY = re.compile(
    r"car|truck|bike|cycle|man|girl|boy|person|people|child|dog|cat|horse|animal|plant|tree|flower|statue|motor|bus|boat"
    r"|piano|guitar|lamp|toy|bear|robot|plane|train|shoe|cloth|food|fruit|bird|fish"
)


@dataclass(frozen=True)
class Cloud:
    """Points on a surface: positions in [-1, 1], y up; unit normals; colours BGR in [0, 1]. All (P, 3) float32."""

    positions: Array
    normals: Array
    colours: Array


@dataclass(frozen=True)
class Material:
    colour: Array  # (3,) BGR
    texture: Image | None


def read_materials(archive: zipfile.ZipFile, folder: PurePosixPath, name: str) -> dict[str, Material]:
    materials: dict[str, Material] = {}
    current, colour, texture = "", np.full(3, 0.7), None
    try:
        text = archive.read(str(folder / name)).decode("latin-1")
    except KeyError:
        return materials
    for line in [*text.splitlines(), "newmtl "]:
        key, _, rest = line.strip().partition(" ")
        if key == "newmtl":
            if current:
                materials[current] = Material(colour, texture)
            current, colour, texture = rest.strip(), np.full(3, 0.7), None
        elif key == "Kd":
            colour = np.array([float(v) for v in rest.split()[:3]])[::-1]
        elif key == "map_Kd":
            texture = read_texture(archive, folder, rest.split()[-1])
    return materials


def read_texture(archive: zipfile.ZipFile, folder: PurePosixPath, name: str) -> Image | None:
    try:
        blob = archive.read(str(folder / name))
    except KeyError:
        return None
    return cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)


def read_model(archive: zipfile.ZipFile, name: str) -> Cloud | None:
    """The surface of one .obj; None where there is too little of it."""
    folder = PurePosixPath(name).parent
    vertices: list[list[float]] = []
    coordinates: list[list[float]] = [[0.0, 0.0]]
    materials: dict[str, Material] = {}
    triangles: dict[str, list[tuple[int, ...]]] = {}
    current = ""
    for line in io.TextIOWrapper(archive.open(name), "latin-1"):
        parts = line.split()
        if not parts:
            continue
        if parts[0] == "v":
            vertices.append([float(v) for v in parts[1:4]])
        elif parts[0] == "vt":
            coordinates.append([float(v) for v in parts[1:3]])
        elif parts[0] == "mtllib":
            materials |= read_materials(archive, folder, " ".join(parts[1:]))
        elif parts[0] == "usemtl":
            current = " ".join(parts[1:])
        elif parts[0] == "f":
            corners = [corner(part, len(vertices), len(coordinates)) for part in parts[1:]]
            for i in range(1, len(corners) - 1):
                triangles.setdefault(current, []).append((*corners[0], *corners[i], *corners[i + 1]))
    if len(vertices) < 40 or not triangles:
        return None
    return sample_surface(np.array(vertices), np.array(coordinates), triangles, materials)


def corner(text: str, vertices: int, coordinates: int) -> tuple[int, int]:
    """Vertex and texture coordinate of `v/vt/vn`; 0 is the coordinate (0, 0)."""
    fields = text.split("/")
    vertex = int(fields[0])
    coordinate = int(fields[1]) if len(fields) > 1 and fields[1] else 0
    return vertex - 1 if vertex > 0 else vertices + vertex, coordinate if coordinate >= 0 else coordinates + coordinate


def sample_surface(
    vertices: Array, coordinates: Array, triangles: dict[str, list[tuple[int, ...]]], materials: dict[str, Material]
) -> Cloud:
    rng = np.random.default_rng(SEED)
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) / (np.linalg.norm(high - low) / 2 + 1e-9)
    faces = {name: np.array(rows).reshape(-1, 3, 2) for name, rows in triangles.items()}
    areas = {n: 0.5 * np.linalg.norm(cross(vertices[f[..., 0]]), axis=-1) for n, f in faces.items()}
    total = sum(a.sum() for a in areas.values()) + 1e-12
    parts = []
    for name, face in faces.items():
        count = int(POINTS * areas[name].sum() / total)
        if not count:
            continue
        pick = rng.choice(len(face), count, p=areas[name] / areas[name].sum())
        a, b = np.sqrt(rng.random(count)), rng.random(count)
        weight = np.stack((1 - a, a * (1 - b), a * b), -1)[..., None]
        corners = vertices[face[pick, :, 0]]
        normal = cross(corners)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
        place = (coordinates[face[pick, :, 1]] * weight).sum(1)
        colour = look_up(materials.get(name, Material(np.full(3, 0.7), None)), place)
        parts.append(((corners * weight).sum(1), normal, colour))
    return Cloud(*(np.concatenate(x).astype(np.float32) for x in zip(*parts, strict=True)))


def cross(corners: Array) -> Array:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def look_up(material: Material, place: Array) -> Array:
    """Colours at texture coordinates (P, 2), wrapped."""
    if material.texture is None:
        return np.broadcast_to(material.colour, (len(place), 3))
    height, width = material.texture.shape[:2]
    x = (place[:, 0] % 1 * width).astype(int) % width
    y = ((1 - place[:, 1] % 1) * height).astype(int) % height
    return material.texture[y, x] / 255.0


def render(cloud: Cloud, azimuth: float, elevation: float, light: Array, distance: float) -> Image:
    """(SIDE, SIDE, 4) uint8 BGRA from a camera that looks at the middle of the model."""
    ca, sa, ce, se = np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation)
    turn = np.array([[1, 0, 0], [0, ce, -se], [0, se, ce]]) @ np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
    points = cloud.positions @ turn.T.astype(np.float32)
    shade = 0.45 + 0.55 * np.abs(cloud.normals @ light.astype(np.float32))
    near = 1 / (distance - points[:, 2])
    side = int(SIDE * OVERSAMPLING)
    scale = side / 2 * (distance - 1) * 0.98
    x = (points[:, 0] * near * scale + side / 2).astype(np.int32)
    y = (side / 2 - points[:, 1] * near * scale).astype(np.int32)
    order = np.argsort(near)
    colours = np.clip(cloud.colours * shade[:, None] * 255, 0, 255).astype(np.uint8)[order]
    canvas = np.zeros((side + 1, side + 1, 4), np.uint8)
    drawn = np.concatenate((colours, np.full((len(colours), 1), 255, np.uint8)), 1)
    x, y = np.clip(x[order], 0, side - 1), np.clip(y[order], 0, side - 1)
    index = (y * (side + 1) + x)[:, None] + np.array([0, 1, side + 1, side + 2])
    canvas.reshape(-1, 4)[index.reshape(-1)] = np.repeat(drawn, 4, 0)
    holes = cv2.morphologyEx(canvas[..., 3], cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > canvas[..., 3]
    canvas[holes] = cv2.dilate(canvas, np.ones((3, 3), np.uint8))[holes]
    return cv2.resize(canvas[:side, :side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def papered(cloud: Cloud, photo: Image) -> Cloud:
    """The surface with a photograph on it, projected along each point's main normal: most models are plain."""
    axis = np.abs(cloud.normals).argmax(1)
    u = np.where(axis == 0, cloud.positions[:, 2], cloud.positions[:, 0])
    v = np.where(axis == 1, cloud.positions[:, 2], cloud.positions[:, 1])
    height, width = photo.shape[:2]
    x = ((u + 1) / 2 * (width - 1)).astype(int) % width
    y = ((1 - v) / 2 * (height - 1)).astype(int) % height
    return Cloud(cloud.positions, cloud.normals, 0.3 * cloud.colours + 0.7 * photo[y, x].astype(np.float32) / 255)


def turntable(cloud: Cloud, rng: np.random.Generator) -> list[Image]:
    """Views all around, the camera rising and sinking; all cropped to the box that they share."""
    light = rng.normal(size=3) + np.array([0, 1.0, 0.5])
    light /= np.linalg.norm(light)
    start, base, swing = rng.uniform(0, 6.3), rng.uniform(0.0, 0.35), rng.uniform(0.0, 0.3)
    distance = rng.uniform(2.2, 5)
    angles = start + 2 * np.pi * np.arange(VIEWS) / VIEWS
    views = [render(cloud, a, base + swing * np.sin(a * 2), light, distance) for a in angles]
    alpha = np.max([view[..., 3] for view in views], 0)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return [np.ascontiguousarray(view[box]) for view in views]


def build_turntables(root: Path, photos: Pack, target: Path) -> None:
    """Pack turning views of the models of a sweethome3d-furniture folder, half of them papered with photographs."""
    names = []
    for path in sorted(root.rglob("*.sh3f")):
        with zipfile.ZipFile(path) as archive:
            names += [
                (path, i.filename) for i in archive.infolist() if i.filename.endswith(".obj") and i.file_size < LARGEST
            ]
    random.Random(SEED).shuffle(names)
    names.sort(key=lambda pair: not LIVELY.search(PurePosixPath(pair[1]).stem.lower()))
    writer, rng = PackWriter(target), np.random.default_rng(SEED)
    for path, name in names[:MODELS]:
        with zipfile.ZipFile(path) as archive:
            cloud = read_model(archive, name)
        if cloud is None:
            continue
        if rng.random() < 0.5:
            cloud = papered(cloud, photos.image(photos.entries[rng.integers(len(photos))]))
        views = turntable(cloud, rng)
        if all((view[..., 3] > 127).mean() > 0.08 for view in views) and min(views[0].shape[:2]) >= 40:
            writer.add(name, "sweethome3d-furniture", "mesh", views, quality=88)
    writer.close()
    print(f"sweethome3d-furniture: {len(writer.entries)} turning models", flush=True)
