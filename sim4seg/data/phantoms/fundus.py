"""Fundus photography: the vessel tree of a retina whose disease shows beside the vessels (FIVES)."""

from __future__ import annotations

import numpy as np

from sim4seg.data.phantoms.canvas import (
    Field,
    Painting,
    Shape,
    blend,
    capsules,
    clouds,
    discs,
    grain,
    grid,
    random_shape,
    soft,
    tilt,
    tint,
    unit,
)
from sim4seg.data.sample import PhantomStructure

LABELS = ("age-related macular degeneration", "diabetic retinopathy", "glaucoma", "normal retina")

Point = tuple[float, float]


def paint(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A fundus photograph (H, W, 3): drusen, bleedings and exudates, a wide cup, or none of them; mask: vessels."""
    shape = random_shape(rng, size)
    scale = unit(shape)
    radius = rng.uniform(0.46, 0.58) * min(shape)
    middle = tuple(float(side * rng.uniform(0.44, 0.56)) for side in (shape[1], shape[0]))
    side = 1.0 if rng.random() < 0.5 else -1.0
    disc = (middle[0] + side * radius * rng.uniform(0.4, 0.65), middle[1] + radius * rng.uniform(-0.3, 0.3))
    macula = (disc[0] - side * radius * rng.uniform(0.8, 0.95), disc[1] + radius * rng.uniform(-0.05, 0.12))
    image = _background(rng, shape)
    image = blend(image, soft(26 * scale - _away(shape, macula), 36 * scale) * 0.6, (0.38, 0.12, 0.06))
    if label == LABELS[0]:
        image = _drusen(rng, image, macula, scale)
    if label == LABELS[1]:
        image = _bleedings(rng, image, (middle[0], middle[1]), radius)
    image = _optic_disc(rng, image, disc, wide_cup=label == LABELS[2])
    inside = soft(np.float32(radius) - _away(shape, (middle[0], middle[1])), 3 * scale)
    vessels = _vessels(rng, shape, disc, side, radius) * inside
    image = blend(image, vessels * np.float32(rng.uniform(0.8, 0.95)), (0.36, 0.05, 0.05))
    image = image * (tilt(rng, shape, rng.uniform(0, 0.4)) * inside)[..., None] + 0.012 * grain(rng, shape)[..., None]
    return Painting(image, (PhantomStructure(vessels > 0.5, label),))


def _away(shape: Shape, point: Point) -> Field:
    x, y = grid(shape)
    apart: Field = np.hypot(x - np.float32(point[0]), y - np.float32(point[1]))
    return apart


def _background(rng: np.random.Generator, shape: Shape) -> Field:
    grey = 0.5 + 0.12 * clouds(rng, shape, 60) + 0.05 * clouds(rng, shape, 10)
    light = rng.uniform(0.9, 1.05)
    return tint(grey, (0.64 * light, 0.26 * light, 0.10), (0.92 * light, 0.50 * light, 0.24))


def _optic_disc(rng: np.random.Generator, image: Field, disc: Point, *, wide_cup: bool) -> Field:
    shape = (image.shape[0], image.shape[1])
    scale = unit(shape)
    away = _away(shape, disc)
    radius = (rng.uniform(27, 33) if wide_cup else rng.uniform(18, 23)) * scale
    cup = radius * (rng.uniform(0.78, 0.86) if wide_cup else rng.uniform(0.25, 0.4))
    image = blend(image, soft(radius - away, 4 * scale), (0.97, 0.72, 0.36))
    return blend(image, soft(cup - away, 3 * scale), (1.0, 0.98, 0.86))


def _drusen(rng: np.random.Generator, image: Field, macula: Point, scale: float) -> Field:
    shape = (image.shape[0], image.shape[1])
    count = int(rng.integers(14, 26))
    spots = [
        (float(macula[0] + 24 * scale * rng.standard_normal()), float(macula[1] + 20 * scale * rng.standard_normal()))
        for _ in range(count)
    ]
    return blend(image, discs(shape, spots, [rng.uniform(3, 7) * scale for _ in spots]) * 0.9, (0.99, 0.90, 0.42))


def _bleedings(rng: np.random.Generator, image: Field, middle: Point, radius: float) -> Field:
    shape = (image.shape[0], image.shape[1])
    scale = unit(shape)

    def somewhere() -> Point:
        angle, away = rng.uniform(0, 2 * np.pi), radius * 0.9 * np.sqrt(rng.random())
        return float(middle[0] + away * np.cos(angle)), float(middle[1] + away * np.sin(angle))

    blots = [somewhere() for _ in range(int(rng.integers(14, 26)))]
    image = blend(image, discs(shape, blots, [rng.uniform(3.5, 8) * scale for _ in blots]), (0.42, 0.02, 0.03))
    hard = [somewhere() for _ in range(int(rng.integers(2, 6)))]
    return blend(image, discs(shape, hard, [rng.uniform(2, 3.5) * scale for _ in hard]) * 0.9, (0.99, 0.92, 0.6))


def _vessels(rng: np.random.Generator, shape: Shape, disc: Point, side: float, radius: float) -> Field:
    """Coverage (H, W) of two arcades around the macula and two nasal trunks, with their branches."""
    cover = np.zeros(shape, dtype=np.float32)
    for up in (-1.0, 1.0):
        out = np.arctan2(up, -side * rng.uniform(0.3, 0.6))
        bend = up * side * rng.uniform(0.10, 0.16)  # arches back over the macula
        _grow(rng, cover, shape, disc, float(out), bend, rng.uniform(12, 15), radius, 2)
        nasal = np.arctan2(up * rng.uniform(0.6, 1.2), side)
        _grow(rng, cover, shape, disc, float(nasal), rng.uniform(-0.05, 0.05), rng.uniform(9, 11), radius, 1)
    return cover


def _grow(
    rng: np.random.Generator,
    cover: Field,
    shape: Shape,
    start: Point,
    angle: float,
    bend: float,
    width: float,
    radius: float,
    forks: int,
) -> None:
    """Draw one vessel from ``start`` in steps of a ninth of ``radius``; side branches leave it at regular places."""
    step, scale = radius / 9, unit(shape)
    points, widths, turns = [start], [width * scale], []
    for _ in range(13 if forks == 2 else 7):
        angle += bend + 0.12 * rng.standard_normal()
        x, y = points[-1]
        points.append((float(x + step * np.cos(angle)), float(y + step * np.sin(angle))))
        widths.append(max(widths[-1] * 0.95, 6.5 * scale))
        turns.append(angle)
    capsules(shape, points, widths, cover)
    if forks:
        for number in range(3, len(points) - 1, 4 if forks == 2 else 3):
            aside = turns[number] + rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.0)
            _grow(rng, cover, shape, points[number], float(aside), 0.0, max(width * 0.65, 6.5), radius * 0.75, 0)
