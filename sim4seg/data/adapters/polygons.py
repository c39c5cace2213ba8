"""Polygons of masks.

Coordinates are continuous, as annotation tools write them: x right, y down, the origin at the outer corner of the
top left pixel, so the centre of pixel (row r, column c) is (c + 0.5, r + 0.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

Point = tuple[float, float]
Polygon = tuple[Point, ...]

# Named with their types, which the library does not declare.
_find_contours: Callable[..., list[NDArray[np.float64]]] = measure.find_contours
_approximate: Callable[..., NDArray[np.float64]] = measure.approximate_polygon

# Below the 0.35 px by which a half-level contour clears pixel centres, so the polygon still holds the same centres.
_TOLERANCE = 0.3


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """One polygon for each 4-connected part of a (H, W) bool mask, in scan order; holes are filled.

    The polygon formats of COCO and YOLO have no holes.
    """
    labelled, _ = ndimage.label(mask)
    polygons: list[Polygon] = []
    for index, window in enumerate(ndimage.find_objects(labelled), start=1):
        part = ndimage.binary_fill_holes(labelled[window] == index)
        contour = max(_find_contours(np.pad(part, 1).astype(float), 0.5), key=len)
        simpler = _approximate(contour, _TOLERANCE)
        points = (simpler if len(simpler) > 3 else contour)[:-1] - 0.5
        top, left = window[0].start, window[1].start
        polygons.append(tuple((float(x + left), float(y + top)) for y, x in points))
    return polygons


def area_and_centroid(polygon: Sequence[Point]) -> tuple[float, Point]:
    """Area (never negative) and centroid of a polygon; of a degenerate one 0 and the mean of its vertices."""
    points = np.asarray(polygon, dtype=float)
    x, y = points[:, 0], points[:, 1]
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    cross = x * next_y - next_x * y
    doubled = float(cross.sum())
    if abs(doubled) < 1e-12:
        return 0.0, (float(x.mean()), float(y.mean()))
    centre = ((x + next_x) * cross).sum() / (3 * doubled), ((y + next_y) * cross).sum() / (3 * doubled)
    return abs(doubled) / 2, (float(centre[0]), float(centre[1]))


def bounding_box(polygon: Sequence[Point]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a polygon."""
    xs, ys = [x for x, _ in polygon], [y for _, y in polygon]
    return min(xs), min(ys), max(xs), max(ys)


def from_box(centre_x: float, centre_y: float, width: float, height: float) -> Polygon:
    """The four corners of a YOLO box."""
    left, right = centre_x - width / 2, centre_x + width / 2
    top, bottom = centre_y - height / 2, centre_y + height / 2
    return ((left, top), (right, top), (right, bottom), (left, bottom))
