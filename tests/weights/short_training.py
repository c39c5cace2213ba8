"""A short training on one batch: what learns is seen to move, and what is frozen to stay."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.processing import Sim4SegProcessor

STEPS = 15


def batch_of_two(processor: Sim4SegProcessor) -> dict[str, torch.Tensor]:
    """Two images of noise with different answers and masks."""
    visual = processor.image_inputs([np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)] * 2)
    text = processor.text_inputs(["where?"] * 2, ["Here [SEG]. It is: benign", "There [SEG]. It is: malignant"])
    masks = [np.zeros((64, 64), bool) for _ in range(2)]
    masks[0][:20, :20] = masks[1][30:, 30:] = True
    return {**visual, **text, "mask_labels": processor.mask_labels(masks)}


def short_training(
    model: Sim4SegForConditionalGeneration, batch: Mapping[str, torch.Tensor], rate: float, weight_decay: float
) -> tuple[list[float], set[str]]:
    """Train what is not frozen.

    Returns:
        The loss of each step, and the names of weights and buffers that are not what they were.
    """
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=rate, weight_decay=weight_decay)
    losses = []
    for _ in range(STEPS):
        loss = model.train()(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
