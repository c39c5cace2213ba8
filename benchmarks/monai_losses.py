"""MONAI's Dice loss and IoU against ours, bit by bit, and their import. `python benchmarks/monai_losses.py`."""

from __future__ import annotations

import sys
import time

import torch

from sim4seg.model import modeling  # noqa: F401  # what a training process has imported anyway
from sim4seg.model.losses import dice_loss, iou_of

BATCHES = 200
SHAPES = ((8, 96, 96), (16, 64, 64), (4, 28, 28))


def main() -> None:
    """Print how many of the batches agree."""
    start, before = time.process_time(), len(sys.modules)
    from monai.losses.dice import DiceLoss
    from monai.metrics.meaniou import compute_iou

    print(f"import: {time.process_time() - start:.1f} s of CPU, {len(sys.modules) - before} modules")
    dice = DiceLoss(smooth_nr=1, smooth_dr=1)
    equal = {"dice": 0, "gradient of dice": 0, "iou": 0}
    largest = 0.0
    for seed in range(BATCHES):
        generator = torch.Generator().manual_seed(seed)
        shape = SHAPES[seed % len(SHAPES)]
        logits = torch.randn(shape, generator=generator).requires_grad_()
        target, valid = ((torch.rand(shape, generator=generator) < share).float() for share in (0.2, 0.9))
        ours, theirs = (
            dice_loss(logits, target, valid),
            dice((logits.sigmoid() * valid)[:, None], (target * valid)[:, None]),
        )
        gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
        predicted, actual = ((each & (valid > 0))[:, None].float() for each in (logits > 0, target > 0.5))
        iou = compute_iou(predicted, actual, ignore_empty=False)[:, 0]
        equal["dice"] += bool(ours == theirs)
        equal["gradient of dice"] += torch.equal(*gradients)
        equal["iou"] += torch.equal(iou, iou_of(logits.detach(), target, valid))
        largest = max(largest, abs(float(ours.detach() - theirs.detach())))
    print(f"equal to the last bit, of {BATCHES} batches: {equal}; largest difference of dice {largest:.1e}")


if __name__ == "__main__":
    main()
