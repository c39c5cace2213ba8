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

from sim4seg.digest import digest_json
from sim4seg.model import rvls2m
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.processing import Image, Sim4SegProcessor

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
        path, perturbation: which of the m x n; (0, 0) is greedy and unperturbed.
    """

    text: str
    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    similarity: NDArray[np.float32]
    log_probability: float
    predicted_iou: float
    path: int
    perturbation: int


@dataclass(frozen=True)
class _Path:
    """One generated answer: ids up to the end token, and their mean log-probability."""

    ids: list[int]
    log_probability: float


@torch.inference_mode()
def answer_batch(
    model: Sim4SegForConditionalGeneration,
    processor: Sim4SegProcessor,
    images: list[Image],
    questions: list[str],
    *,
    paths: int = 1,
    perturbations: int = 1,
    temperature: float = 0.7,
    max_new_tokens: int = 256,
    seeds: list[int],
) -> list[list[Candidate]]:
    """Answer a batch of questions; nothing of the true answer is fed.

    Args:
        images: (H, W) or (H, W, 3) uint8, any sizes.
        questions: one for each image.
        paths: m; path 0 is greedy, the others are sampled at ``temperature``.
        perturbations: n; perturbation 0 leaves the region mask alone.
        seeds: one for each image; together they decide the samples of the batch.

    Returns:
        For each image m * n candidates, path by path. Where the text lacks ``[SEG]`` the mask is that of the text
        with ``[SEG]`` appended; where it has several the first counts.
    """
    device = next(model.parameters()).device
    visual = {name: value.to(device) for name, value in processor.image_inputs(images).items()}
    prompt = {name: value.to(device) for name, value in processor.text_inputs(questions).items()}
    seed = int(digest_json(seeds)[:15], 16)
    written = _write_paths(model, processor, prompt, visual["pixel_values"], paths, temperature, max_new_tokens, seed)
    embeddings = model.segmenter.encode(visual["sam_pixel_values"])
    noise = torch.Generator().manual_seed(seed + 1)
    answers: list[list[Candidate]] = [[] for _ in images]
    for path, row in enumerate(written):
        seg, scores = _regions(model, processor, questions, [p.ids for p in row], visual)
        for perturbation in range(perturbations):
            regions = rvls2m.normalise(scores)
            if perturbation:
                regions = rvls2m.perturb(regions, NOISE, noise)
            logits, iou = model.segmenter.decode(embeddings, seg, model.mask_prompt(regions, visual["sam_extent"]))
            for index, image in enumerate(images):
                probability = processor.probabilities(logits[index].cpu(), image.shape[:2])
                answers[index].append(
                    Candidate(
                        text=_plain(processor, row[index].ids),
                        mask=probability > 0.5,
                        probability=probability,
                        similarity=regions[index].clamp(0, 1).float().cpu().numpy(),
                        log_probability=row[index].log_probability,
                        predicted_iou=float(iou[index]),
                        path=path,
                        perturbation=perturbation,
                    )
                )
    return answers


def _write_paths(
    model: Sim4SegForConditionalGeneration,
    processor: Sim4SegProcessor,
    prompt: dict[str, Tensor],
    pixels: Tensor,
    paths: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
) -> list[list[_Path]]:
    """``paths`` rows of one answer an image."""
    tokenizer = processor.tokenizer
    common = {
        "max_new_tokens": max_new_tokens,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    rows = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for path in range(paths):
            how = {"do_sample": False} if path == 0 else {"do_sample": True, "temperature": temperature, "top_k": 0}
            output = model.lvlm.generate(**prompt, pixel_values=pixels, **common, **how)
            rows.append(_read_paths(output, prompt["input_ids"].shape[1], tokenizer.eos_token_id))
    return rows


def _read_paths(output: object, start: int, eos: int) -> list[_Path]:
    ids = output.sequences[:, start:]  # type: ignore[attr-defined]
    logits = torch.stack(output.logits, dim=1).float()  # type: ignore[attr-defined]
    chosen = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    found = []
    for row, values in zip(ids.tolist(), chosen, strict=True):
        length = row.index(eos) + 1 if eos in row else len(row)
        found.append(_Path(row[: length - 1] if eos in row else row, float(values[:length].mean())))
    return found


def _regions(
    model: Sim4SegForConditionalGeneration,
    processor: Sim4SegProcessor,
    questions: list[str],
    answers: list[list[int]],
    visual: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """E_seg (B, C) and the region matrix (B, g, g) of each answer: the mask path of training, on generated text."""
    device = visual["pixel_values"].device
    batch = processor.text_until_seg(questions, answers)
    ids = batch["input_ids"].to(device)
    states = model.states(ids, batch["attention_mask"].to(device), visual["pixel_values"])
    seg, image = model.seg_and_image_states(states, ids)
    return seg, model.region_scores(seg, image, visual["vision_affine"])


def _plain(processor: Sim4SegProcessor, ids: list[int]) -> str:
    drop = {processor.tokenizer.pad_token_id, processor.tokenizer.bos_token_id, processor.image_token_id}
    return str(processor.tokenizer.decode([i for i in ids if i not in drop])).strip()


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """IoU of two masks (H, W); two empty masks agree fully."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


def choose(candidates: list[Candidate]) -> int:
    """Label-free choice: the mask that agrees most with the others, in the text the model finds most likely.

    Score = mean IoU with the other candidates + exp(mean token log-probability); ties go to the earlier candidate.
    """
    if len(candidates) == 1:
        return 0
    scores = [
        float(np.mean([overlap(one.mask, other.mask) for other in candidates if other is not one]))
        + float(np.exp(one.log_probability))
        for one in candidates
    ]
    return int(np.argmax(scores))
