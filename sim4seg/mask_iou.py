"""Intersection over union of two masks: the one rule of training, choice and scores.

Two empty masks agree fully: nothing predicted where there is nothing to find is right, anything predicted there is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    # The registry adds up pixels that were counted before; it starts in a fifth of the time without torch.
    import torch
    from torch import Tensor


def mask_ious(first: Tensor, second: Tensor, dtype: torch.dtype) -> Tensor:
    """IoU mask by mask, 0 to 1, without gradient.

    Args:
        first, second: (B, H, W) bool, on one device.
        dtype: of the result; pixels are counted in whole numbers whatever it is.

    Returns:
        (B,), 1 where both masks are empty.
    """
    intersection, union = (first & second).flatten(1).sum(1), (first | second).flatten(1).sum(1)
    ratio = intersection.to(dtype) / union.clamp(min=1).to(dtype)
    return ratio.where(union > 0, ratio.new_ones(()))


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """IoU of two masks (H, W) bool, 0 to 1; 1 if both are empty."""
    import torch

    return float(mask_ious(torch.from_numpy(first)[None], torch.from_numpy(second)[None], torch.float64)[0])


def pooled_iou(intersection: NDArray[np.float64], union: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersections over unions that were added up over masks, element by element; 1 where the union is 0.

    Args:
        intersection, union: (...) float64 of one shape, pixels.
    """
    return np.divide(intersection, union, out=np.ones_like(union), where=union > 0)
