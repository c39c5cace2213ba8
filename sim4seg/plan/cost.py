"""What a preset costs, whatever the machine: counted by dry runs of one and of two samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sim4seg.model.families import family_named
from sim4seg.model.presets import Vocabulary, on_meta, preset_named
from sim4seg.plan.dry_run import Lengths, Step, make_batch, run_step
from sim4seg.training.lora import add_lora, trained_count

QUESTION_TOKENS, ANSWER_TOKENS = 96, 256
MASK_SIDE_SHARE = 16
"""SAM's embeddings have one vector for so many pixels a side."""


@dataclass(frozen=True)
class Activations:
    """Bytes at the peak of a step beyond weights and gradients: ``fixed + each * B``."""

    fixed: int
    each: int

    @classmethod
    def through(cls, one: Step, two: Step) -> Activations:
        """From the peaks with one sample and with two."""
        each = two.activations - one.activations
        return cls(one.activations - each, each)


@dataclass(frozen=True)
class Cost:
    """Counts of a preset.

    Attributes:
        preset: name.
        lengths: tokens of a sample.
        parameters, trainable: numbers of parameters.
        forward, backward: floating point operations a sample.
        recomputed: operations more where layers are computed again on the way back (checkpointing).
        kept, checkpointed: activations without and with checkpointing.
        cache_a_token: bytes of keys and values of one token, bfloat16.
        embedding: bytes of SAM's embedding of one image, bfloat16.
        sam_encoder: operations of SAM's image encoder a sample, part of ``forward``; saved by stored embeddings.
    """

    preset: str
    lengths: Lengths
    parameters: int
    trainable: int
    forward: int
    backward: int
    recomputed: int
    kept: Activations
    checkpointed: Activations
    cache_a_token: int
    embedding: int
    sam_encoder: int


def token_grid(preset: str) -> tuple[int, int]:
    """The grid of an image of the preset; the largest square one where it depends on the image."""
    chosen = preset_named(preset)
    words = chosen.vocabulary
    frames = chosen.configure(words or Vocabulary(1024, 3, 4, 1, 2, 0))[1]
    fixed = family_named(frames.family).fixed_grid(frames)
    side = int((frames.vision_pixels[1] // frames.vision_patch**2) ** 0.5)
    return fixed or (side, side)


def cost_of(
    preset: str, question: int = QUESTION_TOKENS, answer: int = ANSWER_TOKENS, dtype: torch.dtype = torch.bfloat16
) -> Cost:
    """Count a preset.

    Args:
        preset: name.
        question: tokens of the prompt without the image's.
        answer: tokens of the answer.
        dtype: of weights and activations.

    Raises:
        ConfigError: no such preset.
    """
    model = on_meta(preset, dtype=dtype)
    chosen = preset_named(preset)
    if chosen.pretrained or preset.endswith("-small"):
        add_lora(model, chosen.trained, chosen.seg_row_only)
    # The paper's losses; ours are for training from scratch.
    model.config.loss = {**model.config.loss, "region": 0.0, "iou": 0.0, "align": 0.0, "attend": 0.0}
    lengths = Lengths(token_grid(preset), question, answer)
    runs = {
        (checkpointing, size): run_step(model, make_batch(model, lengths, size), checkpointing=checkpointing)
        for checkpointing in (False, True)
        for size in (1, 2)
    }
    plain = runs[False, 1]
    config: Any = model.config
    side = config.sam["image_size"] // MASK_SIDE_SHARE
    text = config.lvlm_config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Cost(
        preset=preset,
        lengths=lengths,
        parameters=sum(p.numel() for n, p in model.named_parameters() if "lora_" not in n),
        trainable=trained_count(model),
        forward=plain.forward,
        backward=plain.backward,
        recomputed=runs[True, 1].backward - plain.backward,
        kept=Activations.through(plain, runs[False, 2]),
        checkpointed=Activations.through(runs[True, 1], runs[True, 2]),
        cache_a_token=2 * text.num_hidden_layers * text.num_key_value_heads * head * dtype.itemsize,
        embedding=config.sam["prompt_dim"] * side**2 * dtype.itemsize,
        sam_encoder=plain.modules.get("segmenter.image_encoder", 0),
    )
