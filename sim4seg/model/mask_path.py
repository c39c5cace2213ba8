"""From ``[SEG]`` and the image tokens to a mask: the one chain that training, scoring and answering go through.

    E_seg, E_img -> similarities -> region matrix R -> (perturbation) -> region mask -> mask prompt -> SAM's decoder

The steps are those of :mod:`sim4seg.model.rvls2m`; here they are put together. Shapes: B images, m answers to each
image, n variants of each answer's region matrix; training has m = n = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sim4seg.model import rvls2m
from sim4seg.model.frames import Geometry
from sim4seg.model.region_rules import Perturbation, RegionMatrices, region_rule
from sim4seg.model.segmenter import Segmenter


@dataclass(frozen=True)
class MaskPrediction:
    """What the mask path gives.

    Attributes:
        logits: (B * m * n, P, P) mask logits in SAM's padded low-resolution frame.
        predicted_iou: (B * m * n,) SAM's own estimate.
        scores: (B * m, g, g) float32, region matrices before normalisation.
        regions: (B * m * n, g, g) float32, normalised and then perturbed, so that they may leave [0, 1].
    """

    logits: Tensor
    predicted_iou: Tensor
    scores: Tensor
    regions: Tensor


def predict_masks(
    segmenter: Segmenter,
    region: Mapping[str, Any],
    seg: Tensor,
    image: Tensor,
    geometry: Geometry,
    embeddings: Tensor,
    perturbation: Perturbation | None = None,
) -> MaskPrediction:
    """A mask for each answer to each image, and for each variant of its region matrix.

    Args:
        segmenter: SAM.
        region: ``Sim4SegConfig.region``: whether RVLS2M is on, cells g a side, and the rule's settings.
        seg: (B * m, C) E_seg, projected states that predict ``[SEG]``; the m answers to an image lie together.
        image: (B, T, C) E_img, projected states at the image tokens, in reading order.
        geometry: where the B images lie.
        embeddings: (B, D, s, s) of SAM's image encoder.
        perturbation: makes n variants of each region matrix; None = the matrix as it is, n = 1.
    """
    answers = len(seg) // len(image)
    placed = geometry.repeated(answers)
    similarity = rvls2m.similarity(_each(image, answers), seg)
    scores = rvls2m.region_matrices(similarity, placed.grids, placed.affine, region["grid"])
    matrices = RegionMatrices.of(scores)
    if perturbation is not None:
        # After normalising, since the noise is measured in [0, 1]; not clamped, which would make the highest cells tie.
        matrices = matrices.perturbed(perturbation)
    variants = len(matrices.normal) // len(seg)
    rule = region_rule(region)
    # Without a rule SAM gets its own "no mask" embedding in place of a prompt.
    prompt = None
    if rule is not None:
        prompt = rvls2m.to_mask_prompt(rule(matrices), _each(placed.extent, variants), segmenter.prompt_size)
    # The embeddings stay one an image: `decode` repeats them, after what it does once an image.
    logits, predicted_iou = segmenter.decode(embeddings, _each(seg, variants), prompt)
    return MaskPrediction(logits, predicted_iou, scores, matrices.normal)


def _each(rows: Tensor, times: int) -> Tensor:
    """Each row ``times`` times, one after the other; not copied where that is once."""
    return rows if times == 1 else rows.repeat_interleave(times, 0)
