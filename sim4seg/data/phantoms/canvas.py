"""Shapes and textures shared by all painters, on float32 pixel grids: x right, y down, origin at the top left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim4seg.data.sample import PhantomStructure

Field = NDArray[np.floating[Any]]
"""Grey or colour values; float32 is what is meant, numpy's typing cannot keep it through arithmetic."""
Mask = NDArray[np.bool_]
Shape = tuple[int, int]
"""(height, width) in pixels."""

DESIGN_SIDE = 256.0
"""Sizes in the painters are for an image whose shorter side has this many pixels."""


@dataclass(frozen=True)
class Painting:
    """What a painter returns: image (H, W) or (H, W, 3) float32 with values about 0 to 1, and what was annotated."""

    image: Field
    structures: tuple[PhantomStructure, ...]
    attributes: dict[str, str | int | float] = field(default_factory=dict)


def random_shape(rng: np.random.Generator, size: int) -> Shape:
    """A canvas whose shorter side is ``size``, with an aspect ratio of 1 to 1.5, upright or lying."""
    longer = round(size * rng.uniform(1.0, 1.5))
    return (size, longer) if rng.random() < 0.65 else (longer, size)


def unit(shape: Shape) -> float:
    """Pixels of this canvas for one pixel of the design side."""
    return min(shape) / DESIGN_SIDE


def grid(shape: Shape) -> tuple[Field, Field]:
    """(x, y) of pixel centres as (1, W) and (H, 1) arrays that broadcast to the canvas."""
    height, width = shape
    return np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]


def _hats(length: int, knots: int) -> Field:
    """(length, knots) weights of smooth interpolation between evenly spaced knots."""
    place = np.linspace(0, knots - 1, length, dtype=np.float32)
    gap = np.clip(1 - np.abs(place[:, None] - np.arange(knots, dtype=np.float32)[None, :]), 0, 1)
    weights: Field = gap * gap * (3 - 2 * gap)
    return weights


def clouds(rng: np.random.Generator, shape: Shape, cell: float) -> Field:
    """Smooth noise (H, W), standard deviation about 1, with features of ``cell`` design pixels."""
    step = cell * unit(shape)
    rows, columns = (max(2, round(side / step) + 1) for side in shape)
    knots = rng.standard_normal((rows, columns), dtype=np.float32)
    noise: Field = 1.4 * _hats(shape[0], rows) @ knots @ _hats(shape[1], columns).T
    return noise


def grain(rng: np.random.Generator, shape: Shape) -> Field:
    """White noise (H, W) with standard deviation 1."""
    return rng.standard_normal(shape, dtype=np.float32)


def soft(distance: Field, width: float) -> Field:
    """1 where ``distance`` (pixels, positive inside) is well above 0, 0 well below, a smooth step of ``width``."""
    step = np.clip(distance / np.float32(max(width, 1e-3)) + 0.5, 0, 1)
    smooth: Field = step * step * (3 - 2 * step)
    return smooth


def local(shape: Shape, centre: tuple[float, float], angle: float) -> tuple[Field, Field]:
    """(u, v), each (H, W): coordinates around ``centre`` (x, y) with u along ``angle`` (radians, clockwise)."""
    x, y = grid(shape)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return dx * cos + dy * sin, dy * cos - dx * sin


@dataclass(frozen=True)
class Blob:
    """A star-shaped outline: an ellipse whose radius waves with the angle.

    Attributes:
        centre: (x, y) in pixels.
        radii: half axes in pixels, along and across ``angle``.
        angle: of the first half axis, radians clockwise from x.
        waves: (number of waves, amplitude as a share of the radius, phase in radians).
    """

    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float = 0.0
    waves: tuple[tuple[int, float, float], ...] = ()

    def distance(self, shape: Shape) -> Field:
        """About the distance in pixels from the outline, positive inside, (H, W)."""
        u, v = local(shape, self.centre, self.angle)
        u, v = u / np.float32(self.radii[0]), v / np.float32(self.radii[1])
        radius = np.sqrt(u * u + v * v)
        edge: Field = np.ones(shape, dtype=np.float32)
        if self.waves:
            theta = np.arctan2(v, u)
            for number, amplitude, phase in self.waves:
                edge += np.float32(amplitude) * np.cos(number * theta + np.float32(phase))
        apart: Field = (edge - radius) * np.float32(min(self.radii))
        return apart


def waves(
    rng: np.random.Generator, amplitude: float, numbers: Sequence[int] = (2, 3, 4, 5)
) -> tuple[tuple[int, float, float], ...]:
    """Random waves of an outline; higher ones are flatter."""
    return tuple(
        (n, amplitude * rng.uniform(0.5, 1.0) * (numbers[0] / n) ** 0.5, rng.uniform(0, 2 * np.pi)) for n in numbers
    )


def lesion_radius(rng: np.random.Generator, shape: Shape, median: float = 0.06, spread: float = 0.75) -> float:
    """Radius in pixels of a disc with a log-normal share of the canvas, kept within 0.9 % and 34 %."""
    share = float(np.clip(median * np.exp(spread * rng.standard_normal()), 0.009, 0.34))
    return float(np.sqrt(share * shape[0] * shape[1] / np.pi))


def lesion_centre(
    rng: np.random.Generator, shape: Shape, reach: tuple[float, float], margin: float = 4.0
) -> tuple[float, float]:
    """A centre (x, y), uniform over the places where a shape that reaches (x, y) pixels far stays inside."""
    height, width = shape
    places = []
    for side, far in ((width, reach[0]), (height, reach[1])):
        room = min(far + margin, side / 2)
        places.append(float(rng.uniform(room, max(side - room, room + 1e-3))))
    return places[0], places[1]


def capsules(
    shape: Shape, points: Sequence[tuple[float, float]], widths: Sequence[float], canvas: Field | None = None
) -> Field:
    """Coverage 0..1 (H, W) of a polyline with round joints.

    Args:
        shape: canvas.
        points: (x, y) in pixels.
        widths: full width in pixels at each point.
        canvas: coverage to add to (by maximum), in place.
    """
    cover = np.zeros(shape, dtype=np.float32) if canvas is None else canvas
    for (x0, y0), (x1, y1), w0, w1 in zip(points[:-1], points[1:], widths[:-1], widths[1:], strict=True):
        reach = max(w0, w1) / 2 + 2
        left, right = int(max(min(x0, x1) - reach, 0)), int(min(max(x0, x1) + reach + 1, shape[1]))
        top, bottom = int(max(min(y0, y1) - reach, 0)), int(min(max(y0, y1) + reach + 1, shape[0]))
        if left >= right or top >= bottom:
            continue
        x = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x0)
        y = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y0)
        dx, dy = np.float32(x1 - x0), np.float32(y1 - y0)
        along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy + np.float32(1e-6)), 0, 1)
        apart = np.hypot(x - along * dx, y - along * dy)
        half = np.float32(w0 / 2) + along * np.float32((w1 - w0) / 2)
        window = cover[top:bottom, left:right]
        np.maximum(window, np.clip(half - apart + 0.5, 0, 1), out=window)
    return cover


def discs(shape: Shape, centres: Sequence[tuple[float, float]], radii: Sequence[float]) -> Field:
    """Coverage 0..1 (H, W) of soft-edged discs."""
    cover = np.zeros(shape, dtype=np.float32)
    for (x, y), radius in zip(centres, radii, strict=True):
        capsules(shape, [(x, y), (x + 0.01, y)], [2 * radius, 2 * radius], cover)
    return cover


def blend(image: Field, cover: Field, colour: float | Sequence[float]) -> Field:
    """``image`` with ``colour`` laid over it where ``cover`` (H, W) is 1; grey or colour alike."""
    mixed = image.copy()
    touched = cover > 0
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    if rows.size == 0:
        return mixed
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    weight = cover[box] if image.ndim == 2 else cover[box][..., None]
    mixed[box] += weight * (np.asarray(colour, dtype=np.float32) - mixed[box])
    return mixed


def tint(grey: Field, dark: Sequence[float], bright: Sequence[float]) -> Field:
    """A colour image (H, W, 3): ``dark`` where ``grey`` is 0, ``bright`` where it is 1."""
    low, high = np.asarray(dark, dtype=np.float32), np.asarray(bright, dtype=np.float32)
    coloured: Field = low + grey[..., None] * (high - low)
    return coloured


def tilt(rng: np.random.Generator, shape: Shape, strength: float) -> Field:
    """An illumination gradient (H, W) around 1 in a random direction."""
    x, y = grid(shape)
    angle = rng.uniform(0, 2 * np.pi)
    slope: Field = (x / shape[1] - 0.5) * np.float32(np.cos(angle)) + (y / shape[0] - 0.5) * np.float32(np.sin(angle))
    light: Field = 1 + np.float32(strength) * slope
    return light


def vignette(shape: Shape, strength: float) -> Field:
    """A factor (H, W): 1 in the middle, 1 - ``strength`` in the corners."""
    x, y = grid(shape)
    dx, dy = 2 * x / shape[1] - 1, 2 * y / shape[0] - 1
    light: Field = 1 - np.float32(strength / 4) * (dx * dx + dy * dy) ** 2
    return light
