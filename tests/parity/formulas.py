"""The published method in plain loops over Python floats (64 bits), from its formulas; slow, and shares no code.

Images are lists of rows. What the formulas leave open and how it is read here is in docs/decisions.md, 2026-11-24,
"parity with the published method".
"""

from __future__ import annotations

import math
from fractions import Fraction

Grid = list[list[float]]


def similarity(image_tokens: Grid, seg: list[float]) -> list[float]:
    """s = E_img . E_seg^T, one score a token."""
    return [sum(a * b for a, b in zip(token, seg, strict=True)) for token in image_tokens]


def normalise(cells: Grid) -> Grid:
    """Min-max over the map; a constant map has no best cell and becomes 0."""
    low, high = min(map(min, cells)), max(map(max, cells))
    return [[(value - low) / (high - low) if high > low else 0.0 for value in row] for row in cells]


def letterboxed(height: int, width: int, side: int) -> tuple[int, int]:
    """Size of an image whose longer side becomes ``side``, to whole pixels and at least one."""
    longer = max(height, width)
    return max(1, round(Fraction(height * side, longer))), max(1, round(Fraction(width * side, longer)))


def axis_weights(cells: int, tokens: int, share: float, points: int) -> Grid:
    """What each token gives to each cell's mean along one axis of the image.

    The image fills the first ``share`` of the token grid. In image space a score lies at its token's centre, between
    centres it is interpolated, outside the outermost it stays. A cell's mean is taken over ``points`` points.
    """
    weights = [[0.0] * tokens for _ in range(cells)]
    for cell in range(cells):
        for point in range(points):
            image = (cell + (point + 0.5) / points) / cells
            place = min(max(image * share * tokens - 0.5, 0.0), tokens - 1.0)
            left = min(math.floor(place), tokens - 1)
            right = min(left + 1, tokens - 1)
            weights[cell][left] += (1 - (place - left)) / points
            weights[cell][right] += (place - left) / points
    return weights


def region_matrix(scores: Grid, height_share: float, width_share: float, cells: int, points: int) -> Grid:
    """Scores resampled to image space, undoing the letterbox, and averaged over cells x cells."""
    down = axis_weights(cells, len(scores), height_share, points)
    across = axis_weights(cells, len(scores[0]), width_share, points)
    rows = [[sum(w * s for w, s in zip(weights, row, strict=True)) for weights in across] for row in scores]
    return [
        [sum(weights[t] * rows[t][column] for t in range(len(rows))) for column in range(cells)] for weights in down
    ]


def top_cells(cells: Grid, count: int) -> list[list[int]]:
    """1 for the ``count`` best cells; among equals the first in reading order."""
    ranked = sorted(
        ((-value, row, column) for row, values in enumerate(cells) for column, value in enumerate(values)),
    )
    chosen = {(row, column) for _, row, column in ranked[:count]}
    return [[int((row, column) in chosen) for column in range(len(cells))] for row in range(len(cells))]


def cell_of(pixel: int, prompt_side: int, sam_side: int, filled: int, cells: int) -> tuple[int | None, bool]:
    """The cell under a prompt pixel's centre along one axis, None in the padding; and whether it is on a border.

    Args:
        filled: pixels of SAM's ``sam_side`` that the image fills.
    """
    place = Fraction(2 * pixel + 1, 2 * prompt_side) * sam_side / filled * cells
    return (math.floor(place) if place < cells else None), place.denominator == 1


def resized(values: Grid, height: int, width: int) -> Grid:
    """Bilinear resize; pixel centres correspond, outside the outermost centres values stay."""

    def places(old: int, new: int) -> list[tuple[int, int, float]]:
        found = []
        for index in range(new):
            place = min(max((index + 0.5) * old / new - 0.5, 0.0), old - 1.0)
            low = min(math.floor(place), old - 1)
            found.append((low, min(low + 1, old - 1), place - low))
        return found

    columns = places(len(values[0]), width)
    rows = [[row[a] * (1 - f) + row[b] * f for a, b, f in columns] for row in values]
    return [
        [p * (1 - f) + q * f for p, q in zip(rows[a], rows[b], strict=True)] for a, b, f in places(len(values), height)
    ]


def mask_of_image(logits: Grid, sam_side: int, height: int, width: int) -> Grid:
    """Mask logits in SAM's padded frame: up to its size, padding cut off, to the image's size."""
    rows, columns = letterboxed(height, width, sam_side)
    return resized([row[:columns] for row in resized(logits, sam_side, sam_side)[:rows]], height, width)


def cross_entropy(logits: Grid, targets: list[int]) -> float:
    """Mean of -log softmax(logits)[target]."""
    losses = []
    for row, target in zip(logits, targets, strict=True):
        most = max(row)
        losses.append(most + math.log(sum(math.exp(value - most) for value in row)) - row[target])
    return sum(losses) / len(losses)


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def binary_cross_entropy(logits: Grid, target: Grid) -> float:
    """Of one mask: mean over its pixels."""
    pairs = [(x, t) for a, b in zip(logits, target, strict=True) for x, t in zip(a, b, strict=True)]
    return sum(t * _softplus(-x) + (1 - t) * _softplus(x) for x, t in pairs) / len(pairs)


def dice(logits: Grid, target: Grid, smooth: float = 1.0) -> float:
    """Of one mask: 1 - (2 sum p t + smooth) / (sum p + sum t + smooth)."""
    pairs = [(x, t) for a, b in zip(logits, target, strict=True) for x, t in zip(a, b, strict=True)]
    chances = [(1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)), t) for x, t in pairs]
    both = sum(p * t for p, t in chances)
    return 1 - (2 * both + smooth) / (sum(p for p, _ in chances) + sum(t for _, t in chances) + smooth)


def overlaps(pairs: list[tuple[Grid, Grid]]) -> tuple[float, float]:
    """gIoU and cIoU of (predicted, true) masks of 0 and 1; nothing predicted where nothing is counts 1."""
    ious, intersections, unions = [], 0, 0
    for predicted, true in pairs:
        cells = [(p, t) for a, b in zip(predicted, true, strict=True) for p, t in zip(a, b, strict=True)]
        both, either = sum(1 for p, t in cells if p and t), sum(1 for p, t in cells if p or t)
        ious.append(both / either if either else 1.0)
        intersections, unions = intersections + both, unions + either
    return sum(ious) / len(ious), intersections / unions if unions else 1.0
