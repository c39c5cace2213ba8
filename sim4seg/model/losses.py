"""Losses of a batch; every mask counts the same, whatever its size (paper: means are per mask, then per batch)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sim4seg.mask_iou import mask_ious
from sim4seg.model import rvls2m


def bce_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Binary cross entropy, mean over the valid pixels of each mask, then over masks.

    Args:
        logits, target, valid: (B, H, W); target and valid in {0, 1} (or soft targets in [0, 1]).
    """
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * valid
    return (losses.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)).mean()


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice of each mask, then mean; ``smooth`` (pixels) makes an empty prediction right on an empty target."""
    probability = logits.sigmoid() * valid
    target = target * valid
    overlap = 2 * (probability * target).flatten(1).sum(1) + smooth
    return (1 - overlap / (probability.flatten(1).sum(1) + target.flatten(1).sum(1) + smooth)).mean()


def iou_of(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """IoU of the thresholded masks where they are valid, (B,) float32; two empty masks agree fully."""
    inside = valid > 0
    return mask_ious((logits > 0) & inside, (target > 0.5) & inside, torch.float32)


def in_frame(logits: Tensor, extent: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mask logits at the size of the true masks, and where the frame holds the image.

    Args:
        logits: (B, P, P) in SAM's padded frame.
        extent: (B, 2) height and width share of SAM's square that the image fills.
        size: side S of the true masks.

    Returns:
        (B, S, S) float32 logits, and (B, S, S) float32 in {0, 1}.
    """
    full = F.interpolate(logits[:, None].float(), size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    return full, rvls2m.inside_image(extent, size)
