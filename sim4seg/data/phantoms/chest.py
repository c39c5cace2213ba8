"""Chest radiographs with one or two findings, each of its typical place, shape and brightness (ChestX-Det)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim4seg.data.phantoms.canvas import (
    Blob,
    Field,
    Mask,
    Painting,
    Shape,
    capsules,
    clouds,
    grain,
    grid,
    random_shape,
    soft,
    tilt,
    unit,
    waves,
)
from sim4seg.data.sample import PhantomStructure

LABELS = ("consolidation", "effusion", "nodule", "mass", "pneumothorax", "cardiomegaly")
SECOND_SHARE = 0.3
"""Share of images in which a second finding is tried, in the other lung."""


@dataclass
class _Chest:
    """A chest while it is painted: the picture, and each lung's outline by side (0 = left in the image)."""

    image: Field
    lungs: tuple[Blob, Blob]
    heart: Blob
    scale: float

    @property
    def shape(self) -> Shape:
        return self.image.shape[0], self.image.shape[1]


def paint(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A radiograph (H, W) with the finding ``label``, and sometimes another in the other lung."""
    shape = random_shape(rng, size)
    chest = _chest(rng, shape, big_heart=label == "cardiomegaly")
    side = int(rng.integers(2))
    structures = [PhantomStructure(_add(rng, chest, label, side), label)]
    if rng.random() < SECOND_SHARE:
        others = [name for name in LABELS if name not in (label, "cardiomegaly")]
        other, before = str(rng.choice(others)), chest.image.copy()
        mask = _add(rng, chest, other, 1 - side)
        if _cell(mask) == _cell(structures[0].mask) or bool((mask & structures[0].mask).any()):
            chest.image = before
        else:
            structures.append(PhantomStructure(mask, other))
    image = _marker(rng, chest) * tilt(rng, shape, rng.uniform(0, 0.25)) + 0.025 * grain(rng, shape)
    return Painting(image, tuple(structures))


def _cell(mask: Mask) -> tuple[int, int]:
    """The cell of a 3x3 grid that holds the mask's centre."""
    rows, columns = np.nonzero(mask)
    return int(3 * rows.mean() / mask.shape[0]), int(3 * columns.mean() / mask.shape[1])


def _chest(rng: np.random.Generator, shape: Shape, *, big_heart: bool) -> _Chest:
    scale = unit(shape) * rng.uniform(0.9, 1.1)
    height, width = shape
    x0, y0 = width * rng.uniform(0.45, 0.55), height * rng.uniform(0.46, 0.54)
    tall, wide = 0.40 * height * rng.uniform(0.9, 1.05), 0.185 * width * rng.uniform(0.9, 1.1)
    lungs = tuple(
        Blob((x0 + sign * 0.235 * width, y0), (wide, tall), sign * -0.06, ((3, 0.04, 0.5 * np.pi),)) for sign in (-1, 1)
    )
    size = (0.20 if big_heart else 0.085) * width * rng.uniform(0.9, 1.1)
    heart = Blob((x0 + size * 0.35, y0 + 0.45 * tall), (size * 1.1, max(size * 0.85, 0.28 * tall)), 0.5)
    x, y = grid(shape)
    image = 0.55 + 0.05 * clouds(rng, shape, 60) + 0 * x
    air = np.maximum(soft(lungs[0].distance(shape), 8 * scale), soft(lungs[1].distance(shape), 8 * scale))
    image = image - 0.36 * air
    ribs = np.sin((y + 0.0022 / scale * (x - np.float32(x0)) ** 2) / np.float32(scale * rng.uniform(4.2, 5.2)))
    image = image + 0.045 * air * ribs + air * 0.03 * clouds(rng, shape, 9)
    image = image + 0.12 * soft(13 * scale - np.abs(x - np.float32(x0)), 8 * scale)
    image = np.maximum(image, (0.66 + 0 * y) * soft(heart.distance(shape), 6 * scale))
    return _Chest(image, (lungs[0], lungs[1]), heart, scale)


def _add(rng: np.random.Generator, chest: _Chest, label: str, side: int) -> Mask:
    """Paint one finding in the lung of that side (the heart has no side) and return its mask."""
    if label == "cardiomegaly":
        mask: Mask = chest.heart.distance(chest.shape) > 0
        return mask
    if label == "effusion":
        return _effusion(rng, chest, chest.lungs[side])
    if label == "pneumothorax":
        return _pneumothorax(rng, chest, chest.lungs[side], side)
    return _opacity(rng, chest, chest.lungs[side], label)


def _opacity(rng: np.random.Generator, chest: _Chest, lung: Blob, label: str) -> Mask:
    """Bright spot in the lung: small and round, large and round, or a cloud with a ragged, textured border."""
    low, high = {"nodule": (10.5, 13.5), "mass": (24, 32), "consolidation": (27, 38)}[label]
    radius = rng.uniform(low, high) * chest.scale
    room = [max(axis - radius * 0.9, 0) * 0.9 for axis in lung.radii]
    angle, away = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
    centre = (
        float(lung.centre[0] + away * room[0] * np.cos(angle)),
        float(lung.centre[1] + away * room[1] * np.sin(angle)),
    )
    if label != "consolidation":
        border = waves(rng, 0.03 if label == "nodule" else 0.05, (2, 3, 4))
        distance = Blob(centre, (radius, radius), 0.0, border).distance(chest.shape)
        chest.image += soft(distance, 3 * chest.scale) * np.clip(np.float32(0.92) - chest.image, 0.0, 1)
        return np.asarray(distance > 0)
    stretch = rng.uniform(1.1, 1.4)
    blob = Blob(centre, (radius / stretch, radius * stretch), rng.uniform(-0.5, 0.5), waves(rng, 0.16, (3, 5, 7)))
    distance = np.minimum(blob.distance(chest.shape), lung.distance(chest.shape) + 4 * chest.scale)
    patchy = 0.66 + 0.16 * clouds(rng, chest.shape, 8)
    chest.image += soft(distance, 9 * chest.scale) * np.clip(patchy - chest.image, -0.05, 1)
    return np.asarray(distance > 0)


def _effusion(rng: np.random.Generator, chest: _Chest, lung: Blob) -> Mask:
    """Fluid at the base: bright and even, its level rising to the outer wall."""
    x, y = grid(chest.shape)
    outward = (x - np.float32(lung.centre[0])) / np.float32(lung.radii[0])
    outward = outward if lung.centre[0] > chest.shape[1] / 2 else -outward
    level = lung.centre[1] + lung.radii[1] * rng.uniform(0.05, 0.5)
    surface = y - np.float32(level) + np.float32(14 * chest.scale) * outward * np.abs(outward)
    distance = np.minimum(surface, lung.distance(chest.shape))
    chest.image += soft(distance, 5 * chest.scale) * (np.float32(0.82) - chest.image)
    effusion: Mask = distance > 0
    return effusion


def _pneumothorax(rng: np.random.Generator, chest: _Chest, lung: Blob, side: int) -> Mask:
    """Air around the collapsed lung: a black sickle at the apex and outer wall with a bright pleural line."""
    depth = rng.uniform(0.25, 0.42)
    inward = 1 if side == 0 else -1
    centre = (lung.centre[0] + inward * depth * lung.radii[0] * 1.1, lung.centre[1] + depth * lung.radii[1] * 0.8)
    shrunk = Blob(centre, (lung.radii[0] * 1.05, lung.radii[1] * 1.0), lung.angle)
    rest = shrunk.distance(chest.shape)
    distance = np.minimum(lung.distance(chest.shape), -rest)
    cover = soft(distance, 4 * chest.scale)
    chest.image += cover * (np.float32(0.02) - chest.image)
    collapsed = soft(rest, 6 * chest.scale) * soft(lung.distance(chest.shape), 6 * chest.scale)
    chest.image += 0.12 * collapsed
    line = soft(3.5 * chest.scale - np.abs(rest), 3 * chest.scale) * soft(lung.distance(chest.shape), 6 * chest.scale)
    chest.image += 0.35 * line
    pneumothorax: Mask = distance > 0
    return pneumothorax


def _marker(rng: np.random.Generator, chest: _Chest) -> Field:
    """A side letter in an upper corner and, in some, a cable: bright, but thin and angular."""
    height, width = chest.shape
    scale = chest.scale
    left = rng.uniform(6, 14) * scale if rng.random() < 0.5 else width - rng.uniform(20, 28) * scale
    top = rng.uniform(6, 14) * scale
    cover = capsules(chest.shape, [(left, top), (left, top + 14 * scale), (left + 9 * scale, top + 14 * scale)],
                     [3 * scale] * 3)  # fmt: skip
    if rng.random() < 0.3:
        x = rng.uniform(0.2, 0.8) * width
        points = [
            (x, 0.0),
            (x + rng.uniform(-30, 30) * scale, height * 0.4),
            (x + rng.uniform(-40, 40) * scale, height),
        ]
        capsules(chest.shape, points, [2.5 * scale] * 3, cover)
    marked: Field = chest.image + cover * (np.float32(0.95) - chest.image)
    return marked
