"""Ultrasound: speckled tissue layers with a breast lesion (BUSI) or a thyroid nodule (TN3K)."""

from __future__ import annotations

import numpy as np

from sim4seg.data.phantoms.canvas import (
    Blob,
    Field,
    Painting,
    Shape,
    capsules,
    clouds,
    discs,
    grain,
    grid,
    lesion_centre,
    lesion_radius,
    random_shape,
    soft,
    tilt,
    unit,
    waves,
)
from sim4seg.data.sample import PhantomStructure

BUSI_CYCLE = ("benign", "malignant", "benign", "malignant", "benign", "malignant", "normal", "normal")
"""Labels of eight images: a quarter of them are normal."""
TN3K_LABELS = ("benign nodule", "malignant nodule")


def paint_breast(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A sonogram (H, W): smooth, wide and bright below (benign), spiky, tall and shadowing (malignant), or normal."""
    shape = random_shape(rng, size)
    echo = _layers(rng, shape)
    echo *= _rib_shadows(rng, shape)
    if label == "normal":
        return Painting(_speckle(rng, echo), ())
    malignant = label == "malignant"
    blob = _oval(rng, shape, tall=malignant, spikes=malignant)
    distance = blob.distance(shape)
    echo *= 1 + _behind(shape, blob) * (-0.75 if malignant else 0.85)
    if malignant:  # the echogenic halo around an invasive tumour
        echo *= 1 + 0.35 * soft(distance + 10 * unit(shape), 10 * unit(shape))
    inside = soft(distance, (5 if malignant else 2) * unit(shape))
    dark = rng.uniform(0.07, 0.13) if malignant else rng.uniform(0.05, 0.10)
    texture = dark * (1 + (0.5 if malignant else 0.1) * clouds(rng, shape, 14))
    echo = echo + inside * (texture - echo)
    return Painting(_speckle(rng, echo), (PhantomStructure(distance > 0, label),))


def paint_thyroid(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A sonogram (H, W): an oval nodule with a dark halo (benign), or dark, ragged, tall with calcium (malignant)."""
    shape = random_shape(rng, size)
    echo = 0.6 * _layers(rng, shape) + 0.16
    malignant = label == "malignant nodule"
    blob = _oval(rng, shape, tall=malignant, spikes=malignant)
    echo = _artery(rng, echo, blob, shape)
    distance = blob.distance(shape)
    scale = unit(shape)
    inside = soft(distance, 3 * scale)
    if malignant:
        echo = echo + inside * (rng.uniform(0.08, 0.13) - echo)
        echo *= 1 - 0.5 * _behind(shape, blob) * (1 - inside)
        points = [_within(rng, blob, 0.65) for _ in range(int(rng.integers(4, 9)))]
        calcium = discs(shape, points, [rng.uniform(2.2, 4.0) * scale for _ in points])
        echo = echo + calcium * (1.0 - echo)
    else:
        body = rng.uniform(0.5, 0.62) + 0.08 * clouds(rng, shape, 12)
        echo = echo + inside * (body - echo)
        halo = soft(distance, 2 * scale) * soft(6.5 * scale - distance, 3 * scale)
        echo = echo * (1 - 0.9 * halo)
    return Painting(_speckle(rng, echo), (PhantomStructure(distance > 0, label),))


def _oval(rng: np.random.Generator, shape: Shape, *, tall: bool, spikes: bool) -> Blob:
    radius = max(lesion_radius(rng, shape, median=0.055), 13 * unit(shape))
    stretch = rng.uniform(1.12, 1.3) if tall else rng.uniform(1.2, 1.45)
    radii = (radius / stretch, radius * stretch) if tall else (radius * stretch, radius / stretch)
    border = waves(rng, 0.13, (5, 8, 11)) if spikes else waves(rng, 0.02, (2, 3))
    grow = 1.2 if spikes else 1.03
    centre = lesion_centre(rng, shape, (radii[0] * grow, radii[1] * grow))
    return Blob(centre, radii, rng.uniform(-0.2, 0.2), border)


def _layers(rng: np.random.Generator, shape: Shape) -> Field:
    """Mean echo (H, W) of skin, fat, gland with streaks and muscle, from top to bottom."""
    _, y = grid(shape)
    depth = y / shape[0] + 0.04 * clouds(rng, shape, 90)
    skin, fat, gland = rng.uniform(0.03, 0.07), rng.uniform(0.15, 0.3), rng.uniform(0.7, 0.95)
    echo = 0.75 * soft(skin - depth, 0.02) + 0.32 * soft(depth - skin, 0.02)
    echo = echo + 0.16 * soft(depth - fat, 0.06) - 0.14 * soft(depth - gland, 0.08)
    streaks = np.sin(depth * np.float32(rng.uniform(40, 70)) + clouds(rng, shape, 40))
    layered: Field = np.clip(echo * (1 + 0.18 * streaks) + 0.05 * clouds(rng, shape, 24), 0.1, 1)
    return layered * tilt(rng, shape, rng.uniform(0, 0.3))


def _rib_shadows(rng: np.random.Generator, shape: Shape) -> Field:
    """Factor (H, W): dark, but soft, straight stripes that reach the lower edge."""
    x, y = grid(shape)
    factor = np.ones(shape, dtype=np.float32)
    for _ in range(int(rng.integers(0, 3))):
        middle, half = rng.uniform(0, shape[1]), rng.uniform(6, 18) * unit(shape)
        stripe = np.exp(-(((x - np.float32(middle)) / np.float32(half)) ** 2))
        factor *= 1 - 0.45 * stripe * soft(y / shape[0] - np.float32(rng.uniform(0.1, 0.5)), 0.3)
    return factor


def _behind(shape: Shape, blob: Blob) -> Field:
    """1 (H, W) in the column of tissue below the lesion, where its shadow or enhancement falls."""
    x, y = grid(shape)
    across = soft(np.float32(blob.radii[0] * 0.9) - np.abs(x - np.float32(blob.centre[0])), 8 * unit(shape))
    below = soft(y - np.float32(blob.centre[1]), blob.radii[1])
    fade = np.exp(-np.clip(y - np.float32(blob.centre[1] + blob.radii[1]), 0, None) / np.float32(0.35 * shape[0]))
    column: Field = across * below * fade
    return column


def _within(rng: np.random.Generator, blob: Blob, reach: float) -> tuple[float, float]:
    angle, away = rng.uniform(0, 2 * np.pi), reach * np.sqrt(rng.random())
    return (
        float(blob.centre[0] + away * blob.radii[0] * np.cos(angle)),
        float(blob.centre[1] + away * blob.radii[1] * np.sin(angle)),
    )


def _artery(rng: np.random.Generator, echo: Field, blob: Blob, shape: Shape) -> Field:
    """The carotid: round and black like a cyst, with a bright wall; only where it keeps clear of the nodule."""
    radius = rng.uniform(9, 14) * unit(shape)
    centre = lesion_centre(rng, shape, (radius, radius), 6)
    apart = np.hypot(centre[0] - blob.centre[0], centre[1] - blob.centre[1])
    if apart < max(blob.radii) * 1.3 + radius * 1.5:
        return echo
    wall = discs(shape, [centre], [radius + 3 * unit(shape)])
    hole = discs(shape, [centre], [radius])
    echo = echo + wall * (0.9 - echo)
    return echo + hole * (0.02 - echo)


def _speckle(rng: np.random.Generator, echo: Field) -> Field:
    """Multiplicative speckle, wider than tall, and the black sides of a curved probe in some pictures."""
    shape = (echo.shape[0], echo.shape[1])
    noise = grain(rng, shape)
    noise = noise + np.roll(noise, 1, axis=1) + 0.7 * np.roll(noise, 2, axis=1)
    image: Field = np.clip(echo, 0, 1) * np.clip(1 + np.float32(rng.uniform(0.14, 0.24)) * noise, 0, None) + 0.02
    if rng.random() < 0.25:
        scale = unit(shape)
        ruler = [(shape[1] - 5 * scale, y) for y in np.arange(12 * scale, shape[0], 22 * scale)]
        ticks = np.zeros(shape, dtype=np.float32)
        for x, y in ruler:
            capsules(shape, [(x - 3 * scale, y), (x, y)], [2 * scale] * 2, ticks)
        image = np.maximum(image, ticks * 0.9)
    return image
