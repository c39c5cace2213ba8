"""Losses and IoU against plain loops in float64."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.model.losses import bce_loss, dice_loss, iou_of


def by_loops(logits, target, valid):
    bce, dice, iou = [], [], []
    for image in range(len(logits)):
        terms, overlap, p_sum, t_sum, inter, union = [], 0.0, 0.0, 0.0, 0, 0
        for x, t, v in zip(logits[image].ravel(), target[image].ravel(), valid[image].ravel(), strict=True):
            p = 1 / (1 + math.exp(-x))
            if v:
                terms.append(-(t * math.log(p) + (1 - t) * math.log(1 - p)))
                overlap, p_sum, t_sum = overlap + p * t, p_sum + p, t_sum + t
                inter, union = inter + (x > 0 and t > 0.5), union + (x > 0 or t > 0.5)
        bce.append(sum(terms) / max(1, len(terms)))
        dice.append(1 - (2 * overlap + 1) / (p_sum + t_sum + 1))
        iou.append(inter / union if union else 1.0)
    return np.mean(bce), np.mean(dice), iou


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_losses_agree_with_loops(batch, height, width, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(batch, height, width))
    target = (rng.random((batch, height, width)) < rng.random()).astype(float)
    valid = (rng.random((batch, height, width)) < 0.8).astype(float)
    args = [torch.tensor(x) for x in (logits, target, valid)]
    bce, dice, iou = by_loops(logits, target, valid)
    np.testing.assert_allclose(bce_loss(*args).item(), bce, atol=1e-9)
    np.testing.assert_allclose(dice_loss(*args).item(), dice, atol=1e-9)
    np.testing.assert_allclose(iou_of(*args).numpy(), iou, atol=1e-6)
