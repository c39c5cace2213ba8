"""Overlap of two masks, and its means over many: gIoU, cIoU, Dice.

Dice is MONAI's, called with ``ignore_empty=False``, which is this task's empty rule: nothing predicted where there is
nothing to find scores 1, anything predicted there scores 0. IoU is :mod:`sim4seg.mask_iou`'s, which training and the
choice among answers use too, and which a test holds against MONAI's. Intersections and unions are kept as whole numbers
case by case for cIoU, their ratio summed over cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics.meandice import compute_dice
from numpy.typing import NDArray

from sim4seg.errors import ModelError
from sim4seg.mask_iou import mask_iou


@dataclass(frozen=True)
class Overlap:
    """How a predicted mask meets the true one.

    Attributes:
        iou: intersection over union, 0 to 1; 1 if both masks are empty.
        dice: 2 |A and B| / (|A| + |B|), 0 to 1; 1 if both masks are empty.
        intersection: pixels in both.
        union: pixels in either.
    """

    iou: float
    dice: float
    intersection: int
    union: int


def overlap(predicted: NDArray[np.bool_], target: NDArray[np.bool_]) -> Overlap:
    """Compare two masks of one image.

    Args:
        predicted: (H, W) bool.
        target: (H, W) bool, the same size.

    Raises:
        ModelError: the sizes differ.
    """
    if predicted.shape != target.shape or predicted.ndim != 2:
        raise ModelError(
            f"a mask of shape {predicted.shape} cannot be scored against one of shape {target.shape}",
            remedy="predict the mask at the image's own size",
        )
    # Double, because MONAI sums in the dtype it is given (but divides in float32: good to 1e-7).
    first, second = (torch.from_numpy(mask.astype(np.float64))[None, None] for mask in (predicted, target))
    return Overlap(
        iou=mask_iou(predicted, target),
        dice=float(compute_dice(first, second, ignore_empty=False)),
        intersection=int(np.count_nonzero(predicted & target)),
        union=int(np.count_nonzero(predicted | target)),
    )


def generalised_iou(ious: Sequence[float]) -> float:
    """gIoU: the mean of the images' IoUs; every image counts the same, whatever the size of its lesion."""
    return float(np.mean(np.asarray(ious, dtype=np.float64)))


def cumulative_iou(intersections: Iterable[int], unions: Iterable[int]) -> float:
    """cIoU: total intersection over total union, so that large lesions count more; 1 if nothing was there or found."""
    # Python's whole numbers: exact, never too large, and the same in whatever order the cases come.
    union = sum(int(value) for value in unions)
    return sum(int(value) for value in intersections) / union if union else 1.0
