"""What can be measured in the image under the mask: the facts that a reasoning text may state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import label, regionprops

LONGEST_SIDE = 256
"""Pictures are measured at no more than this; findings are coarse words, not figures."""

FILTER_REACH = 5
"""Pixels around the boundary that the gradient of its margin is computed from: one, and the filter's four."""

TINY, SMALL, MEDIUM = 0.01, 0.05, 0.15
"""Upper bounds of the mask's share of the image for these sizes; above is large."""

_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "middle", "right")


@dataclass(frozen=True)
class Findings:
    """Words for what was measured; all empty where the mask is (a normal case).

    Attributes:
        place: cell of a 3x3 grid over the image that holds the mask's centroid, e.g. "upper left"; "centre".
        size: tiny, small, medium or large, by share of the image.
        shape: round, oval, elongated or irregular (solidity below 0.85).
        margin: sharp or blurred, by the image's gradient on the boundary against the contrast across it.
        contrast: brighter, darker or similar, against a ring around the mask.
        texture: homogeneous or heterogeneous, by the spread inside against the contrast scale of the image.
        colour: a colour word for colour images, "" for grey ones.
        parts: number of separate parts.
    """

    place: str = ""
    size: str = ""
    shape: str = ""
    margin: str = ""
    contrast: str = ""
    texture: str = ""
    colour: str = ""
    parts: int = 0


def measure(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Findings:
    """Measure one image.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        mask: (H, W) bool.
    """
    if not mask.any():
        return Findings()
    image, mask = _reduced(image, mask)
    grey = _grey(image)
    spread = float(grey.std()) + 1e-6
    reach = max(2.0, 0.15 * float(np.sqrt(mask.sum())))
    near = _surroundings(mask, max(math.ceil(reach), FILTER_REACH) + 1)
    local, local_grey = mask[near], grey[near]
    parts = label(local)
    main = max(regionprops(parts), key=lambda region: region.area)
    inside = local_grey[local]
    ring = (ndimage.distance_transform_edt(~local) <= reach) & ~local
    around = local_grey[ring] if ring.any() else inside
    difference = float(np.median(inside) - np.median(around))
    return Findings(
        place=_place(mask),
        size=_size(float(mask.mean())),
        shape=_shape(main),
        margin=_margin(local_grey, local, difference),
        contrast="brighter" if difference > 0.3 * spread else "darker" if difference < -0.3 * spread else "similar",
        texture="heterogeneous" if inside.std() > 0.6 * spread else "homogeneous",
        colour=_colour(image[mask].mean(axis=0)) if image.ndim == 3 and _is_coloured(image) else "",
        parts=int(parts.max()),
    )


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean of the channels; whole numbers are added, so that no order of the sum matters."""
    if image.ndim == 2:
        return image.astype(np.float64)
    red, green, blue = (image[..., channel].astype(np.float64) for channel in range(3))
    return (red + green + blue) / 3


def _surroundings(mask: NDArray[np.bool_], reach: int) -> tuple[slice, slice]:
    """The mask's bounding box and ``reach`` pixels around it: what lies farther off has no part in a local measure."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(max(0, rows[0] - reach), rows[-1] + reach + 1), slice(
        max(0, columns[0] - reach), columns[-1] + reach + 1
    )


def _reduced(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Image and mask with no side above LONGEST_SIDE; a mask too small to survive keeps its brightest cell."""
    scale = LONGEST_SIDE / max(mask.shape)
    if scale >= 1:
        return image, mask
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    share = np.asarray(Image.fromarray(mask).convert("F").resize(size, Image.Resampling.BOX))
    small = share >= min(127.5, float(share.max()))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)), small


def _place(mask: NDArray[np.bool_]) -> str:
    row, column = (float(c) / n for c, n in zip(ndimage.center_of_mass(mask), mask.shape, strict=True))
    vertical, horizontal = _ROWS[min(2, int(row * 3))], _COLUMNS[min(2, int(column * 3))]
    return "centre" if (vertical, horizontal) == ("middle", "middle") else f"{vertical} {horizontal}"


def _size(share: float) -> str:
    return "tiny" if share < TINY else "small" if share < SMALL else "medium" if share < MEDIUM else "large"


def _shape(region: object) -> str:
    solidity, eccentricity = float(region.solidity), float(region.eccentricity)  # type: ignore[attr-defined]
    if solidity < 0.85:
        return "irregular"
    return "round" if eccentricity < 0.6 else "oval" if eccentricity < 0.9 else "elongated"


def _margin(grey: NDArray[np.float64], mask: NDArray[np.bool_], difference: float) -> str:
    """A sharp margin makes most of its step within a pixel or two."""
    boundary = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    steepness = ndimage.gaussian_gradient_magnitude(grey, 1.0)[boundary].mean()
    return "sharp" if steepness > 0.15 * abs(difference) and steepness > 4 else "blurred"


def _is_coloured(image: NDArray[np.uint8]) -> bool:
    red, green, blue = (image[..., channel] for channel in range(3))
    highest, lowest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((highest - lowest).mean()) > 8


def _colour(mean: NDArray[np.float64]) -> str:
    red, green, blue = (float(v) for v in mean)
    brightness, range_ = max(red, green, blue), max(red, green, blue) - min(red, green, blue)
    if brightness < 60:
        return "black"
    if range_ < 0.12 * brightness:
        return "grey" if brightness < 190 else "white"
    if red < max(green, blue):
        return "blue" if blue >= green else "green"
    if green > 0.82 * red:
        return "yellow"
    if brightness < 150:
        return "brown"
    return "orange" if green > 0.55 * red else "red" if blue < 0.72 * red else "pink"
