"""Free-running answers, with test-time scaling: m reasoning paths x n perturbed region masks (paper, TTS).

The paper keeps the candidate that scores best against the ground truth. A product has none, so :func:`choose`
is label-free; the oracle's pick is made by the evaluation and named as such there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sim4seg.errors import ModelError
from sim4seg.inference import decoding
from sim4seg.mask_iou import mask_iou
from sim4seg.model import rvls2m
from sim4seg.model.frames import Geometry
from sim4seg.model.mask_path import MaskPrediction, predict_masks
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.processing import Image, Sim4SegProcessor
from sim4seg.model.region_rules import Perturbation

NOISE = 0.1
"""Strength of the region perturbation, in units of the normalised region matrix."""


@dataclass(frozen=True)
class Candidate:
    """One answer to one question.

    Attributes:
        text: generated answer, control tokens but ``[SEG]`` removed.
        mask: (H, W) bool at the image's own size.
        probability: (H, W) float32 foreground probability.
        similarity: (g, g) float32 in [0, 1], region matrix after perturbation (clipped).
        log_probability: mean log-probability of the generated tokens.
        predicted_iou: SAM's own estimate.
        path: which of the m texts; 0 is greedy.
        perturbation: which of the n region masks of that text; 0 is unperturbed.
    """

    text: str
    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    similarity: NDArray[np.float32]
    log_probability: float
    predicted_iou: float
    path: int
    perturbation: int


@torch.inference_mode()
def answer_batch(
    model: Sim4SegForConditionalGeneration,
    processor: Sim4SegProcessor,
    images: list[Image],
    questions: list[str],
    *,
    paths: int = 1,
    perturbations: int = 1,
    temperature: float,
    max_new_tokens: int,
    seeds: list[int],
    sam_embeddings: Tensor | None = None,
    shuffled: bool = False,
) -> list[list[Candidate]]:
    """Answer a batch of questions; nothing of the true answer is fed.

    Args:
        images: (H, W) or (H, W, 3) uint8, any sizes.
        questions: one for each image.
        paths: m; path 0 is greedy, the others are sampled.
        perturbations: n; perturbation 0 leaves the region mask alone.
        temperature: of the sampled paths; the greedy one does not depend on it.
        max_new_tokens: a text that has not ended by then is cut there.
        seeds: one for each image; decides its samples, whatever else is in the batch and whatever m and n are.
        sam_embeddings: (B, C, s, s) of SAM's image encoder, where they are known already.
        shuffled: put the cells of each region matrix in random order, in place of the n variants: a control.

    Returns:
        For each image m * n candidates, path by path; m where RVLS2M is off, since it is its mask that is perturbed.
        Where the text lacks ``[SEG]`` the mask is that of the text with ``[SEG]`` appended; where it has several the
        first counts.

    Raises:
        ModelError: nothing is asked for, or the lists differ in length, or a question is empty.
    """
    _check(images, questions, seeds, paths, perturbations, max_new_tokens)
    if shuffled or not model.config.region["enabled"]:
        perturbations = 1
    device = next(model.parameters()).device
    visual = {name: value.to(device) for name, value in processor.image_inputs(images).items()}
    if sam_embeddings is not None:
        visual["sam_embeddings"] = sam_embeddings.to(device)
    text = processor.text_inputs(questions, grid=visual["vision_grid"])
    prompt = {name: value.to(device) for name, value in text.items()}
    writing = decoding.write_paths(
        model.lvlm,
        {**prompt, **model.image_kwargs(prompt["input_ids"], visual)},
        decoding.TokenIds(processor.tokenizer.eos_token_id, processor.seg_token_id, processor.image_token_id),
        decoding.uniform_draws(seeds, paths, max_new_tokens),
        torch.tensor([0.0] + [temperature] * (paths - 1)),
    )
    image_states = model.image_states(writing.prompt_states, prompt["input_ids"], visual["vision_grid"])
    noise = shuffled_cells(seeds, paths) if shuffled else region_noise(seeds, paths, perturbations)
    masks = _predict_masks(model, writing.seg_states, image_states, visual, noise)
    shape = (len(images), paths, perturbations)
    by_image = [
        each.cpu().view(*shape, *each.shape[1:])
        for each in (masks.logits, masks.predicted_iou, masks.regions.clamp(0, 1).float())
    ]
    return [
        _candidates(processor, picture.shape[:2], written, *of_image)
        for picture, written, *of_image in zip(images, writing.paths, *by_image, strict=True)
    ]


def _predict_masks(
    model: Sim4SegForConditionalGeneration,
    seg_states: Tensor,
    image_states: Tensor,
    visual: dict[str, Tensor],
    perturbation: Perturbation | None,
) -> MaskPrediction:
    """The masks of B * m answers in n variants each; SAM's encoder sees an image once.

    Args:
        seg_states: (B * m, H).
        image_states: (B, T, H).
        visual: :meth:`Sim4SegProcessor.image_inputs`, with ``sam_embeddings`` where they are known already.
        perturbation: makes the n variants.
    """
    seg, image = model.projection(seg_states), model.projection(image_states)
    embeddings = model.image_embeddings(visual["sam_pixel_values"], visual.get("sam_embeddings"))
    geometry = Geometry.of(visual)
    return predict_masks(model.segmenter, model.config.region, seg, image, geometry, embeddings, perturbation)


def _candidates(
    processor: Sim4SegProcessor,
    size: tuple[int, int],
    written: list[decoding.Written],
    logits: Tensor,
    iou: Tensor,
    regions: Tensor,
) -> list[Candidate]:
    """One image's answers: (m, n, P, P) logits, (m, n) predicted IoU and (m, n, g, g) regions, on the CPU."""
    candidates = []
    for path, answer in enumerate(written):
        text = plain_text(processor, answer.ids)
        for perturbation in range(logits.shape[1]):
            probability = processor.probabilities(logits[path, perturbation], size)
            candidates.append(
                Candidate(
                    text=text,
                    mask=probability > 0.5,
                    probability=probability,
                    similarity=regions[path, perturbation].numpy(),
                    log_probability=answer.log_probability,
                    predicted_iou=float(iou[path, perturbation]),
                    path=path,
                    perturbation=perturbation,
                )
            )
    return candidates


def _check(
    images: list[Image], questions: list[str], seeds: list[int], paths: int, perturbations: int, max_new_tokens: int
) -> None:
    lengths = (len(images), len(questions), len(seeds))
    if len(set(lengths)) > 1 or not images:
        raise ModelError(
            f"a batch of {lengths[0]} images, {lengths[1]} questions and {lengths[2]} seeds cannot be answered",
            remedy="give at least one image, and one question and one seed for each",
        )
    if min(paths, perturbations, max_new_tokens) < 1:
        raise ModelError(
            f"{paths} paths, {perturbations} perturbations and {max_new_tokens} new tokens: all must be 1 or more",
            remedy="see evaluate.tts and evaluate.max_new_tokens in params.yaml",
        )


def region_noise(seeds: list[int], paths: int, variants: int) -> Perturbation | None:
    """What makes the n variants of each answer's region matrix, the first of them the matrix as it is.

    Args:
        seeds: of each image; with the number of the path it decides the noise.
        paths: m answers to each image.
        variants: n; where it is 1 nothing is to be done, and None is given.
    """
    if variants == 1:
        return None

    def perturbed(regions: Tensor) -> Tensor:
        rows = []
        for index, region in enumerate(regions):
            # One generator a path, drawn from in turn: a larger n leaves the variants before as they are.
            generator = decoding.region_generator(seeds[index // paths], index % paths)
            rows.append(region)
            rows += [rvls2m.perturb(region, NOISE, generator) for _ in range(variants - 1)]
        return torch.stack(rows)

    return perturbed


def shuffled_cells(seeds: list[int], paths: int) -> Perturbation:
    """What puts the cells of each region matrix in an order of its own; arguments as for :func:`region_noise`."""

    def shuffled(regions: Tensor) -> Tensor:
        rows = []
        for index, region in enumerate(regions):
            generator = decoding.region_generator(seeds[index // paths], index % paths)
            order = torch.randperm(region.numel(), generator=generator).to(region.device)
            rows.append(region.flatten()[order].view_as(region))
        return torch.stack(rows)

    return shuffled


def plain_text(processor: Sim4SegProcessor, ids: list[int]) -> str:
    """The text of generated ids; of the control tokens only ``[SEG]`` is left in it."""
    drop = {processor.tokenizer.pad_token_id, processor.tokenizer.bos_token_id, processor.image_token_id}
    return str(processor.tokenizer.decode([i for i in ids if i not in drop])).strip()


def choose(candidates: list[Candidate]) -> int:
    """Label-free choice: the mask that agrees most with the others, in the text the model finds most likely.

    Score = mean IoU with the other candidates + exp(mean token log-probability); ties go to the earlier candidate.
    """
    if len(candidates) == 1:
        return 0
    # exp gives the log-probability the range of an IoU, (0, 1]. `is`, since == of arrays is an array.
    scores = [
        float(np.mean([mask_iou(one.mask, other.mask) for other in candidates if other is not one]))
        + float(np.exp(one.log_probability))
        for one in candidates
    ]
    return int(np.argmax(scores))
