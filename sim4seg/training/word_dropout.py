"""Noise on the reasoning that a model is fed while it learns (word dropout: Bowman et al. 2016, arXiv 1511.06349)."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_words(batch: dict[str, Tensor], seg_token_id: int, blank: int, strength: float) -> Tensor:
    """Input ids in which words of the reasoning are blanked or swapped; what is to be predicted stays whole.

    Fed with the true findings, a model can tell the diagnosis without looking at the image, or know a training case
    by its findings; at test time it has only findings of its own, some of them wrong. Each row has its own share of
    disturbed words, uniform in [0, ``strength``]. Half of them become blanks, the other half the words that
    another row of the batch has at the same distance from its ``[SEG]``: plausible, and mostly wrong.

    Args:
        batch: ``input_ids``, ``labels`` and ``conclusion``, each (B, L), of :class:`Sim4SegProcessor`.
        seg_token_id: the words after the first ``[SEG]``, up to the diagnosis, are the reasoning.
        blank: id that stands for a blanked word.
        strength: largest share; 0 returns the ids unchanged, and draws nothing.

    Returns:
        (B, L) int64. Draws come from torch's global generator, whose state a checkpoint keeps.
    """
    ids = batch["input_ids"]
    if not strength:
        return ids
    reasoning = _reasoning(batch, seg_token_id)
    share = strength * torch.rand(len(ids), 1)
    disturbed = (torch.rand(ids.shape) < share).to(ids.device) & reasoning
    swap = (torch.rand(ids.shape) < 0.5).to(ids.device)
    other, known = _neighbours_words(ids, reasoning, seg_token_id)
    return torch.where(disturbed, torch.where(swap & known, other, torch.full_like(ids, blank)), ids)


def _reasoning(batch: dict[str, Tensor], seg_token_id: int) -> Tensor:
    """(B, L) bool: words of the answer after ``[SEG]`` and before the diagnosis."""
    ids = batch["input_ids"]
    after_seg = (ids == seg_token_id).cumsum(1) > 0
    return after_seg & (ids != seg_token_id) & (batch["labels"] != -100) & (batch["conclusion"] == 0)


def _neighbours_words(ids: Tensor, reasoning: Tensor, seg_token_id: int) -> tuple[Tensor, Tensor]:
    """What the row before has at the same distance from its ``[SEG]``, and where that is a word of its reasoning."""
    seg = (ids == seg_token_id).int().argmax(1)
    length = ids.shape[1]
    place = torch.arange(length, device=ids.device) + (seg.roll(1) - seg)[:, None]
    inside = (place >= 0) & (place < length)
    place = place.clamp(0, length - 1)
    return ids.roll(1, 0).gather(1, place), reasoning.roll(1, 0).gather(1, place) & inside
