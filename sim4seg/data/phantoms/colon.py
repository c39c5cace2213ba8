"""Colonoscopy: a polyp on folded, moist mucosa (Kvasir-SEG)."""

from __future__ import annotations

import numpy as np

from sim4seg.data.phantoms.canvas import (
    Blob,
    Field,
    Mask,
    Painting,
    Shape,
    blend,
    capsules,
    clouds,
    discs,
    grain,
    grid,
    lesion_centre,
    lesion_radius,
    local,
    random_shape,
    soft,
    tilt,
    tint,
    unit,
    waves,
)
from sim4seg.data.sample import PhantomStructure

LABELS = ("sessile polyp", "pedunculated polyp", "flat polyp")


def paint(rng: np.random.Generator, label: str, size: int) -> Painting:
    """An endoscopic frame (H, W, 3): a dome (sessile), a head on a stalk (pedunculated) or a pale patch (flat)."""
    shape = random_shape(rng, size)
    image = _mucosa(rng, shape)
    painter = {"sessile polyp": _sessile, "pedunculated polyp": _pedunculated, "flat polyp": _flat}[label]
    image, mask = painter(rng, image, shape)
    image = _highlights(rng, image, shape)
    image *= tilt(rng, shape, rng.uniform(0, 0.3))[..., None]
    image = image * _frame(rng, shape)[..., None] + 0.012 * grain(rng, shape)[..., None]
    return Painting(image, (PhantomStructure(mask, label),))


def _mucosa(rng: np.random.Generator, shape: Shape) -> Field:
    """Pink wall with curved folds around a dark lumen somewhere in the frame."""
    height, width = shape
    scale = unit(shape)
    grey = 0.5 + 0.12 * clouds(rng, shape, 60) + 0.04 * clouds(rng, shape, 8)
    lumen = (rng.uniform(0, width), rng.uniform(0, height))
    x, y = grid(shape)
    away = np.hypot(x - np.float32(lumen[0]), y - np.float32(lumen[1])) / np.float32(scale)
    wobble = away + 12 * clouds(rng, shape, 80)
    folds = np.sin(wobble / np.float32(rng.uniform(9, 16)) + np.float32(rng.uniform(0, 6)))
    grey = grey + np.float32(rng.uniform(0.05, 0.13)) * folds
    image = tint(grey, (0.52, 0.20, 0.15), (0.93, 0.58, 0.46))
    return blend(image, soft(rng.uniform(12, 32) - away, 30) * 0.9, (0.12, 0.03, 0.03))


def _dome(image: Field, distance: Field, radius: float, scale: float, colour: tuple[float, float, float]) -> Field:
    """A shaded bulge: bright top, dark border, shadow on the wall around it."""
    image = blend(image, soft(distance + 4 * scale, 8 * scale) * 0.5, (0.25, 0.07, 0.05))
    height = np.clip(distance / np.float32(radius), 0, 1)
    shade = np.sqrt(1 - (1 - height) ** 2)
    surface = (0.5 + 0.65 * shade)[..., None] * np.asarray(colour, dtype=np.float32)
    cover = soft(distance, 2 * scale)[..., None]
    lit: Field = image + cover * (surface - image)
    return lit


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    light = rng.uniform(0.88, 1.0)
    return 0.90 * light, rng.uniform(0.36, 0.46) * light, rng.uniform(0.28, 0.36) * light


def _sessile(rng: np.random.Generator, image: Field, shape: Shape) -> tuple[Field, Mask]:
    radius = lesion_radius(rng, shape)
    stretch = rng.uniform(1.0, 1.12)
    centre = lesion_centre(rng, shape, (radius * 1.1, radius * 1.1))
    radii = (radius * stretch, radius / stretch)
    distance = Blob(centre, radii, rng.uniform(0, np.pi), waves(rng, 0.03)).distance(shape)
    return _dome(image, distance, radius, unit(shape), _colour(rng)), distance > 0


def _pedunculated(rng: np.random.Generator, image: Field, shape: Shape) -> tuple[Field, Mask]:
    radius = max(lesion_radius(rng, shape, median=0.03, spread=0.5), 13 * unit(shape))
    scale = unit(shape)
    angle = rng.uniform(0, 2 * np.pi)
    length = radius * rng.uniform(1.6, 2.2)
    reach = (abs(np.cos(angle)) * length / 2 + radius, abs(np.sin(angle)) * length / 2 + radius)
    middle = lesion_centre(rng, shape, reach)
    head = (middle[0] + np.cos(angle) * length / 2, middle[1] + np.sin(angle) * length / 2)
    foot = (
        middle[0] - np.cos(angle) * (length / 2 + radius / 2),
        middle[1] - np.sin(angle) * (length / 2 + radius / 2),
    )
    stalk = capsules(shape, [foot, head], [radius * 0.95, radius * 0.6])
    image = blend(image, capsules(shape, [foot, head], [radius * 0.95 + 8 * scale, radius * 0.6 + 8 * scale]) * 0.5,
                  (0.25, 0.07, 0.05))  # fmt: skip
    _, across = local(shape, head, angle)
    shade = 1 - 0.5 * np.clip(np.abs(across) / np.float32(radius * 0.45), 0, 1)
    image = image + stalk[..., None] * (shade[..., None] * np.asarray((0.97, 0.66, 0.54), dtype=np.float32) - image)
    distance = Blob(head, (radius, radius), 0.0, waves(rng, 0.04)).distance(shape)
    colour = (0.84, 0.27, 0.22)
    return _dome(image, distance, radius, scale, colour), (distance > 0) | (stalk > 0.5)


def _flat(rng: np.random.Generator, image: Field, shape: Shape) -> tuple[Field, Mask]:
    radius = lesion_radius(rng, shape, median=0.075)
    stretch = rng.uniform(1.2, 1.5)
    radii = (radius * stretch, radius / stretch)
    angle = rng.uniform(0, np.pi)
    reach = float(np.hypot(radii[0] * np.cos(angle), radii[1] * np.sin(angle)))
    rise = float(np.hypot(radii[0] * np.sin(angle), radii[1] * np.cos(angle)))
    distance = Blob(lesion_centre(rng, shape, (reach, rise)), radii, angle, waves(rng, 0.1)).distance(shape)
    cover = soft(distance, 4 * unit(shape))
    image = blend(image, cover * np.float32(rng.uniform(0.6, 0.8)), (0.94, 0.73, 0.62))
    pits = soft(np.abs(clouds(rng, shape, 9)) - 0.9, 0.5)
    return blend(image, cover * pits * 0.6, (0.72, 0.30, 0.28)), distance > 0


def _highlights(rng: np.random.Generator, image: Field, shape: Shape) -> Field:
    """Specular reflexes, on the lesion or off it: bright, but tiny and white."""
    scale = unit(shape)
    count = int(rng.integers(3, 12))
    spots = [(rng.uniform(0, shape[1]), rng.uniform(0, shape[0])) for _ in range(count)]
    return blend(image, discs(shape, spots, [rng.uniform(1, 4.5) * scale for _ in spots]) * 0.9, (1.0, 0.98, 0.96))


def _frame(rng: np.random.Generator, shape: Shape) -> Field:
    """The black, cut corners of an endoscope's picture."""
    x, y = grid(shape)
    corner = np.abs(2 * x / shape[1] - 1) + np.abs(2 * y / shape[0] - 1)
    return soft((np.float32(rng.uniform(1.7, 1.9)) - corner) * 100, 4)
