"""Dermoscopy: a pigmented lesion on skin with hairs, ruler marks and gel bubbles (ISBI 2016, ISIC 2018)."""

from __future__ import annotations

import numpy as np

from sim4seg.data.phantoms.canvas import (
    Blob,
    Field,
    Painting,
    Shape,
    blend,
    capsules,
    clouds,
    discs,
    grain,
    lesion_centre,
    lesion_radius,
    random_shape,
    soft,
    tilt,
    tint,
    unit,
    vignette,
    waves,
)
from sim4seg.data.sample import PhantomStructure

ISBI_LABELS = ("benign", "malignant")
ISIC_LABELS = ("melanoma", "melanocytic nevus", "basal cell carcinoma", "benign keratosis")

_APPEARANCE = {"benign": "melanocytic nevus", "malignant": "melanoma"}
"""ISBI's two labels are painted as the commonest ISIC diagnoses of each kind."""
_BORDER = {"melanoma": 0.22, "melanocytic nevus": 0.02, "basal cell carcinoma": 0.07, "benign keratosis": 0.05}
_COLOURS = {
    "melanoma": (0.26, 0.15, 0.13),
    "melanocytic nevus": (0.53, 0.33, 0.21),
    "basal cell carcinoma": (0.80, 0.38, 0.41),
    "benign keratosis": (0.62, 0.55, 0.36),
}


def paint(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A dermoscopic image (H, W, 3) with one lesion, whose colours, border and texture say what it is."""
    shape = random_shape(rng, size)
    look = _APPEARANCE.get(label, label)
    image = _skin(rng, shape)
    radius = lesion_radius(rng, shape)
    stretch = rng.uniform(1.0, 1.2)
    centre = lesion_centre(rng, shape, (radius * 1.25, radius * 1.25))
    numbers = (2, 3, 5, 7) if look == "melanoma" else (2, 3, 4)
    blob = Blob(centre, (radius * stretch, radius / stretch), rng.uniform(0, np.pi), waves(rng, _BORDER[look], numbers))
    distance = blob.distance(shape)
    image = _lesion(rng, image, distance, look, radius)
    image = _distractors(rng, image, shape)
    image *= (tilt(rng, shape, rng.uniform(0, 0.25)) * vignette(shape, rng.uniform(0.1, 0.8)))[..., None]
    image += 0.015 * grain(rng, shape)[..., None]
    return Painting(image, (PhantomStructure(distance > 0, label),))


def _skin(rng: np.random.Generator, shape: Shape) -> Field:
    tone = rng.uniform(0.0, 1.0)
    grey = 0.5 + 0.12 * clouds(rng, shape, 70) + 0.06 * clouds(rng, shape, 9)
    dark = (0.74 - 0.08 * tone, 0.54 - 0.06 * tone, 0.46 - 0.08 * tone)
    bright = (0.95, 0.77 - 0.05 * tone, 0.69 - 0.08 * tone)
    return tint(grey, dark, bright)


def _lesion(rng: np.random.Generator, image: Field, distance: Field, look: str, radius: float) -> Field:
    shape = (image.shape[0], image.shape[1])
    scale = unit(shape)
    sharp = {"benign keratosis": 2.0, "melanoma": 4.0}.get(look, 6.0)
    cover = soft(distance, sharp * scale) * np.float32(rng.uniform(0.82, 0.97))
    colour = np.asarray(_COLOURS[look]) * rng.uniform(0.9, 1.1)
    image = blend(image, cover, tuple(colour))
    patches = clouds(rng, shape, max(radius * 0.8 / scale, 12))
    if look == "melanoma":
        image = blend(image, cover * soft(patches - 0.45, 0.5), (0.06, 0.05, 0.07))
        image = blend(image, cover * soft(-0.75 - patches, 0.5), (0.42, 0.46, 0.60))
        other = clouds(rng, shape, max(radius * 0.7 / scale, 12))
        return blend(image, cover * soft(other - 1.0, 0.5), (0.62, 0.20, 0.18))
    if look == "melanocytic nevus":
        network = soft(np.abs(clouds(rng, shape, 8)) - 0.5, 0.5)
        return blend(image, cover * network * 0.3, (0.42, 0.24, 0.15))
    if look == "basal cell carcinoma":
        image = blend(image, cover * soft(patches - 0.95, 0.3), (0.30, 0.32, 0.46))
        rim = soft(distance, 3 * scale) * soft(radius * 0.25 - distance, 4 * scale)
        return blend(image, rim * 0.5, (0.97, 0.80, 0.80))
    horn = soft(clouds(rng, shape, 11) - 0.7, 0.4)
    image = blend(image, cover * horn, (0.93, 0.89, 0.70))
    return blend(image, cover * soft(clouds(rng, shape, 13) - 1.1, 0.4), (0.35, 0.28, 0.17))


def _distractors(rng: np.random.Generator, image: Field, shape: Shape) -> Field:
    height, width = shape
    scale = unit(shape)
    hairs = np.zeros(shape, dtype=np.float32)
    for _ in range(int(rng.integers(0, 7))):
        start = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
        points = [(float(start[0]), float(start[1]))]
        for _ in range(5):
            start = start + 26 * scale * np.array([np.cos(angle), np.sin(angle)])
            angle += bend / 2
            points.append((float(start[0]), float(start[1])))
        capsules(shape, points, [rng.uniform(1.2, 2.4) * scale] * 6, hairs)
    image = blend(image, hairs * 0.85, (0.16, 0.10, 0.08))
    if rng.random() < 0.3:
        edge = height - 3 * scale
        ticks = np.zeros(shape, dtype=np.float32)
        for number, x in enumerate(np.arange(10 * scale, width, 14 * scale)):
            long = (14 if number % 5 == 0 else 8) * scale
            capsules(shape, [(x, edge), (x, edge - long)], [2 * scale] * 2, ticks)
        image = blend(image, ticks, (0.1, 0.1, 0.1))
    if rng.random() < 0.3:
        count = int(rng.integers(1, 4))
        spots = [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(count)]
        image = blend(image, discs(shape, spots, [rng.uniform(3, 9) * scale for _ in spots]) * 0.5, (1.0, 0.97, 0.95))
    return image
