"""The training loss: text, mask and, for models trained from scratch, the auxiliary ones (:mod:`alignment`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sim4seg.errors import ModelError
from sim4seg.model import rvls2m
from sim4seg.model.alignment import alignment_loss, attention_loss, token_coverage, word_bags
from sim4seg.model.frames import Geometry
from sim4seg.model.losses import bce_loss, dice_loss, in_frame, iou_of
from sim4seg.model.mask_path import MaskPrediction


class LearningModel(Protocol):
    """What the losses take of :class:`sim4seg.model.modeling.Sim4SegForConditionalGeneration`."""

    config: Any
    family: Any

    @property
    def language_model(self) -> Any:
        """The LVLM's language model without its output layer."""
        ...

    @property
    def lm_head(self) -> nn.Linear:
        """The LVLM's output layer."""
        ...

    def attention_is_learnt(self) -> bool:
        """Whether the loss ``attend`` has a weight."""
        ...

    def is_image(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids to (B, L) bool, the image tokens."""
        ...


@dataclass(frozen=True)
class Labels:
    """What a batch should be answered with; see :class:`sim4seg.model.processing.Sim4SegProcessor`.

    Attributes:
        text: (B, L), -100 where no text loss is taken.
        conclusion: (B, L), 1 on the tokens of the diagnosis.
        masks: (B, S, S) in {0, 1} in SAM's frame.
        shared_words: (2, V) bool of :meth:`Sim4SegForConditionalGeneration.shared_words`, words that every row of a
            larger batch has; None where this batch is all of it.
    """

    text: Tensor | None
    conclusion: Tensor | None
    masks: Tensor | None
    shared_words: Tensor | None = None

    @property
    def complete(self) -> bool:
        """Whether text and masks are both there; the auxiliary losses need both."""
        return self.text is not None and self.masks is not None


def weighted_sum(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The loss, a scalar, of one or more unweighted parts; summed in the order of ``parts``."""
    loss = sum(weights[name] * part for name, part in parts.items())
    return cast(Tensor, loss)


def loss_parts(
    model: LearningModel,
    read: Any,
    input_ids: Tensor,
    masks: MaskPrediction,
    labels: Labels,
    geometry: Geometry,
) -> dict[str, Tensor]:
    """The unweighted losses of a batch by name, as far as there are labels for them; scalars with gradients.

    Args:
        model: its configuration has the weights; a loss that costs something and has the weight 0 is left out.
        read: output of the LVLM's ``model`` for the batch, with attentions where they are learnt.
        input_ids: (B, L).
        masks: one for each image.
        labels: the truth.
        geometry: where the B images lie.
    """
    weights = model.config.loss
    parts: dict[str, Tensor] = {}
    if labels.text is not None:
        parts["text"] = text_loss(
            model.lm_head, read.last_hidden_state, labels.text, labels.conclusion, weights["conclusion"]
        )
    if labels.masks is not None:
        parts |= mask_losses(masks, labels.masks, geometry.extent, weights)
    return parts | auxiliary_losses(model, read, input_ids, labels, geometry)


def token_weights(labels: Tensor, conclusion: Tensor | None, conclusion_weight: float) -> tuple[Tensor, Tensor]:
    """(B, L-1) bool, where the text loss is taken, and (B, L-1) float32, what a token counts there."""
    scored = labels[:, 1:] != -100
    if conclusion is None:
        return scored, scored.float()
    return scored, 1 + (conclusion_weight - 1) * conclusion[:, 1:]


def reasoning_and_diagnosis(labels: Tensor, conclusion: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, L) bool each: the tokens of the answer before its diagnosis, and those of the diagnosis."""
    answer = labels != -100
    diagnosis = answer & (conclusion > 0) if conclusion is not None else answer
    return answer & ~diagnosis, diagnosis


def text_loss(
    lm_head: nn.Module, states: Tensor, labels: Tensor, conclusion: Tensor | None, conclusion_weight: float
) -> Tensor:
    """Next-token cross entropy over the answer only; logits are computed only where they are scored.

    Args:
        lm_head: (N, H) to (N, V).
        states: (B, L, H) last hidden states.
        labels: (B, L), -100 where nothing is scored.
        conclusion: (B, L), 1 on the tokens of the diagnosis; they count ``conclusion_weight`` times.
        conclusion_weight: 1 is the paper's loss.
    """
    scored, weights = token_weights(labels, conclusion, conclusion_weight)
    logits = lm_head(states[:, :-1][scored]).float()
    losses = F.cross_entropy(logits, labels[:, 1:][scored].to(logits.device), reduction="none")
    if conclusion is None:
        return losses.mean()
    counts = weights[scored].to(logits.device)
    return (losses * counts).sum() / counts.sum()


def mask_losses(
    masks: MaskPrediction, target: Tensor, extent: Tensor, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """BCE and Dice of the masks and, where their weight is not 0, the losses of the region matrix and the IoU head.

    Args:
        masks: one for each image.
        target: (B, S, S) in {0, 1} in SAM's frame.
        extent: (B, 2) height and width share of SAM's square that the image fills.
        weights: by name of the loss.
    """
    target = target.float()
    full, valid = in_frame(masks.logits, extent, target.shape[-1])
    parts = {"bce": bce_loss(full, target, valid), "dice": dice_loss(full, target, valid)}
    if weights["region"]:
        cells = _target_cells(target, extent, masks.scores.shape[-1])
        every = torch.ones_like(cells)
        parts["region"] = bce_loss(masks.scores, cells, every) + dice_loss(masks.scores, cells, every)
    if weights["iou"]:
        parts["iou"] = F.mse_loss(masks.predicted_iou.float(), iou_of(full, target, valid))
    return parts


def _target_cells(target: Tensor, extent: Tensor, grid: int) -> Tensor:
    """Share of each image cell that the true mask covers, (B, g, g)."""
    zero = torch.zeros_like(extent[:, 0])
    affine = torch.stack((extent[:, 1], zero, extent[:, 0], zero), dim=1)
    return rvls2m.to_region_matrix(target, affine, grid)


def auxiliary_losses(
    model: LearningModel, read: Any, input_ids: Tensor, labels: Labels, geometry: Geometry
) -> dict[str, Tensor]:
    """The losses of :mod:`sim4seg.model.alignment` that have a weight; arguments as for :func:`loss_parts`."""
    align, attend = bool(model.config.loss["align"]), model.attention_is_learnt()
    if not (align or attend) or labels.text is None or labels.masks is None:
        return {}
    coverage = coverage_of(labels.masks, geometry)
    parts: dict[str, Tensor] = {}
    if align:
        features = model.family.image_features(read)
        if features is not None:
            features = features.reshape(len(input_ids), -1, features.shape[-1])
        parts["align"] = align_part(model, features, coverage, labels)
    if attend:
        parts["attend"] = attend_part(list(read.attentions), model.is_image(input_ids), labels.text != -100, coverage)
    return parts


def coverage_of(masks: Tensor, geometry: Geometry) -> Tensor:
    """:func:`sim4seg.model.alignment.token_coverage` in reading order, (B, T).

    Args:
        masks: (B, S, S) in {0, 1} in SAM's frame.
        geometry: where the B images lie.

    Raises:
        ModelError: the images differ in their token grids.
    """
    if len(set(geometry.grids)) > 1:
        raise ModelError(
            "the losses `align` and `attend` need the same token grid for every image of a batch",
            where="train.loss",
            remedy="set both to 0 for an LVLM that sees images at their own size",
        )
    return token_coverage(masks, geometry.affine, geometry.extent, geometry.grids[0]).flatten(1)


def align_part(model: LearningModel, features: Tensor | None, coverage: Tensor, labels: Labels) -> Tensor:
    """:func:`sim4seg.model.alignment.alignment_loss` with the words of the batch's answers.

    Raises:
        ModelError: the LVLM's family does not return its image features.
    """
    if features is None:
        raise ModelError(
            f"the loss `align` needs image features, which an LVLM of type {model.config.lvlm_config.model_type!r} "
            "does not return",
            where="train.loss.align",
            remedy="set it to 0",
        )
    assert labels.text is not None
    weights, words = model.config.loss, model.lm_head.weight
    parts = reasoning_and_diagnosis(labels.text, labels.conclusion)
    shared = labels.shared_words if labels.shared_words is not None else (None, None)
    # The reasoning's bag also holds its wording, which no image can tell: it counts less.
    bag_weights = (weights["align_reasoning"], weights["align_conclusion"])
    bags = [
        (weight, word_bags(labels.text.clamp(min=0), part, len(words), common))
        for weight, part, common in zip(bag_weights, parts, shared, strict=True)
    ]
    normal = model.language_model.norm(features)
    return alignment_loss(normal, words, model.config.seg_token_id, coverage, bags)


def attend_part(attentions: list[Tensor], is_image: Tensor, answer: Tensor, coverage: Tensor) -> Tensor:
    """:func:`sim4seg.model.alignment.attention_loss` of the first head of each layer but the first, mean."""
    writes = F.pad(answer[:, 1:], (0, 1))
    return torch.stack([attention_loss(layer[:, 0], is_image, writes, coverage) for layer in attentions[1:]]).mean()
