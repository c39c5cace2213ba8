"""Two auxiliary losses that teach a model trained from scratch to look at the lesion while it writes.

The paper starts from LLaVA, whose projector was first trained to put image features among the word embeddings
(Liu et al. 2023, arXiv 2304.08485, stage 1). Without it a small language model learns the form of the answers in a few
hundred steps and does not look at the image for a long time: attention has nothing to find there.

:func:`alignment_loss` reads every image token through the language model's own output layer, before the language model
has seen it: a token on the lesion should say ``[SEG]``, and the lesion's tokens together should say the words that
describe it. :func:`attention_loss` has one head of each layer but the first look at the lesion while the answer is
written (Liu et al. 2017, Attention Correctness in Neural Image Captioning, arXiv 1605.09553).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sim4seg.model.losses import bce_loss, dice_loss


def token_coverage(target: Tensor, affine: Tensor, extent: Tensor, grid: tuple[int, int]) -> Tensor:
    """Share of each image token's rectangle that the true mask covers.

    Args:
        target: (B, S, S) in {0, 1} in SAM's frame.
        affine: (B, 4) image points to the LVLM's input, see :mod:`sim4seg.model.rvls2m`.
        extent: (B, 2) height and width share of SAM's square that the image fills.
        grid: rows and columns of tokens, the same for each image.

    Returns:
        (B, rows, columns) float32 in [0, 1]; 0 for tokens on padding.
    """
    size = target.shape[-1]
    points = [max(1, -(-size // side)) for side in grid]
    down, across = (
        (torch.arange(side * n, device=target.device, dtype=torch.float32) + 0.5) / (side * n)
        for side, n in zip(grid, points, strict=True)
    )
    across = (across - affine[:, 1:2].float()) / affine[:, 0:1].float() * extent[:, 1:2].float()
    down = (down - affine[:, 3:4].float()) / affine[:, 2:3].float() * extent[:, 0:1].float()
    count = (down.shape[1], across.shape[1])
    where = torch.stack(
        (across[:, None, :].expand(-1, count[0], -1), down[:, :, None].expand(-1, -1, count[1])), dim=-1
    )
    sampled = F.grid_sample(
        target[:, None].float(), where * 2 - 1, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return F.avg_pool2d(sampled, points)[:, 0]


def present_words(ids: Tensor, chosen: Tensor, size: int) -> Tensor:
    """Which of ``size`` ids each row has where it is ``chosen``; (B, size) float32, 0 or 1."""
    # What is not chosen goes to a place of its own, which is cut off: every value written is 1, in whatever order.
    presence = torch.zeros(len(ids), size + 1, device=ids.device)
    return presence.scatter_(1, ids.where(chosen, torch.full_like(ids, size)), 1.0)[:, :size]


def word_bags(ids: Tensor, chosen: Tensor, size: int, shared: Tensor | None = None) -> Tensor:
    """What tells one row's words from the others': its distinct ids that not every row has, as a distribution.

    Args:
        ids: (B, L) token ids.
        chosen: (B, L) bool, where to look.
        size: ids there are.
        shared: (size,) bool, ids that every row has, where the rows are a part of a larger batch.

    Returns:
        (B, size) float32; rows sum to 1, or to 0 where nothing tells the row from the others.
    """
    presence = present_words(ids, chosen, size)
    own = presence * (presence.mean(0) < 1 if shared is None else ~shared)
    return own / own.sum(1, keepdim=True).clamp(min=1)


def pooled(features: Tensor, coverage: Tensor) -> Tensor:
    """Mean feature under the mask, (B, H); over the whole image where there is no lesion.

    Args:
        features: (B, T, H).
        coverage: (B, T).
    """
    weights = torch.where(coverage.sum(1, keepdim=True) > 0, coverage, torch.ones_like(coverage))
    return torch.einsum("bth,bt->bh", features, weights / weights.sum(1, keepdim=True))


def alignment_loss(
    features: Tensor, words: Tensor, seg_token_id: int, coverage: Tensor, bags: list[tuple[float, Tensor]]
) -> Tensor:
    """Image features against the mask and the words of the answer.

    Args:
        features: (B, T, H) image features as the language model gets them, normalised as before its output layer.
        words: (V, H) weights of the output layer.
        seg_token_id: the word that tokens on the lesion should say.
        coverage: (B, T) of :func:`token_coverage`.
        bags: weights and distributions (B, V) of :func:`word_bags` that the lesion's tokens should say.

    Returns:
        Scalar: binary cross entropy and Dice of the lesion's tokens, and the weighted cross entropy of each bag.
    """
    lesion = torch.einsum("bth,h->bt", features, words[seg_token_id]).float()[:, None]
    every = torch.ones_like(lesion)
    loss = bce_loss(lesion, coverage[:, None], every) + dice_loss(lesion, coverage[:, None], every)
    log_probabilities = F.linear(pooled(features, coverage), words).float().log_softmax(1)
    for weight, bag in bags:
        loss = loss - weight * (bag * log_probabilities).sum(1).mean()
    return loss


def attention_loss(attention: Tensor, is_image: Tensor, writes: Tensor, coverage: Tensor) -> Tensor:
    """How little of one head's attention lies on the lesion while the answer is written.

    Args:
        attention: (B, L, L) of one head, rows sum to 1.
        is_image: (B, L) bool, the image tokens, T in each row.
        writes: (B, L) bool, the positions that predict a token of the answer.
        coverage: (B, T) of :func:`token_coverage`.

    Returns:
        Scalar: -log of the attention that lies on the lesion, mean over the answers' positions in images with a
        lesion; 0 where no image has one.
    """
    batch, length, _ = attention.shape
    most = coverage.amax(1, keepdim=True)
    weight = torch.zeros(batch, length, device=attention.device)
    weight[is_image] = (coverage / most.clamp(min=1e-6)).flatten()
    mass = torch.einsum("bqk,bk->bq", attention.float(), weight)
    counted = (writes & (most > 0)).float()
    loss: Tensor = -((mass + 1e-4).log() * counted).sum() / counted.sum().clamp(min=1)
    return loss
