"""What a step of a preset costs, whatever the machine: counted by dry runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sim4seg.model.families import family_named
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets import TokenVocabulary, on_meta, preset_named
from sim4seg.plan.activation_memory import Activations, count_activations
from sim4seg.plan.dry_run import Lengths, Step, make_batch, run_step
from sim4seg.plan.static_memory import BYTES, Counts, Precision, precision_of
from sim4seg.training.lora import add_lora, trained_count
from sim4seg.training.precision import cast_weights

QUESTION_TOKENS, ANSWER_TOKENS = 96, 256
SAVED = 4
"""Bytes a number of a trained model, which is saved, and so evaluated, in float32."""
MASK_SIDE_SHARE = 16
"""SAM's embeddings have one vector for so many pixels a side."""


@dataclass(frozen=True)
class Cost:
    """Counts of a preset.

    Attributes:
        preset: name.
        precision: that it was counted in.
        lengths: tokens of a sample.
        parameters, trainable: numbers of parameters, as published (without adapters), and that may change.
        counts: what memory is needed for.
        forward, backward: floating point operations a sample.
        recomputed: operations more where layers are computed again on the way back (checkpointing).
        kept, checkpointed: activations without and with checkpointing.
        cache_a_token: bytes of keys and values of one token, in float32.
        embedding: bytes of SAM's embedding of one image, bfloat16.
        sam_encoder: operations of SAM's image encoder a sample, part of ``forward``; saved by stored embeddings.
    """

    preset: str
    precision: Precision
    lengths: Lengths
    parameters: int
    trainable: int
    counts: Counts
    forward: int
    backward: int
    recomputed: int
    kept: Activations
    checkpointed: Activations
    cache_a_token: int
    embedding: int
    sam_encoder: int

    def operations(self, *, checkpointing: bool) -> int:
        """Of a sample's step."""
        return self.forward + self.backward + (self.recomputed if checkpointing else 0)


def token_grid(preset: str) -> tuple[int, int]:
    """The grid of an image of the preset; the largest square one where it depends on the image."""
    chosen = preset_named(preset)
    words = chosen.vocabulary
    frames = chosen.configure(words or TokenVocabulary(1024, 3, 4, 1, 2, 0))[1]
    fixed = family_named(frames.family).fixed_grid(frames)
    side = int((frames.vision_pixels[1] // frames.vision_patch**2) ** 0.5)
    return fixed or (side, side)


def trained_on_meta(preset: str, precision: Precision) -> Sim4SegForConditionalGeneration:
    """A preset as it is trained, without memory for its weights.

    Raises:
        ConfigError: no such preset.
    """
    model, chosen = on_meta(preset), preset_named(preset)
    if chosen.pretrained or preset.endswith("-small"):
        add_lora(model, chosen.trained, chosen.seg_row_only)
    # The paper's losses; ours are for training from scratch.
    model.config.loss = {**model.config.loss, "region": 0.0, "iou": 0.0, "align": 0.0, "attend": 0.0}
    cast_weights(model, getattr(torch, precision.frozen), getattr(torch, precision.trained))
    return model


def count_weights(model: nn.Module) -> Counts:
    """Count a model whose trainable set has been chosen."""
    learned = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in model.parameters())
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    inside = {weight: weight.numel() for stack in stacks for weight in stack.parameters()}
    layers = [sum(weight.numel() for weight in layer.parameters()) for stack in stacks for layer in stack]
    return Counts(total - learned, learned, max(layers), total - sum(inside.values()))


def step_of_one(
    model: Sim4SegForConditionalGeneration, lengths: Lengths, precision: Precision, *, checkpointing: bool
) -> Step:
    """The step of one sample."""
    return run_step(model, make_batch(model, lengths, 1), checkpointing=checkpointing, autocast=precision.autocast)


def cost_of(
    preset: str,
    precision: Precision | None = None,
    question: int = QUESTION_TOKENS,
    answer: int = ANSWER_TOKENS,
) -> Cost:
    """Count a preset.

    Args:
        preset: name.
        precision: None = that of DeepSpeed.
        question: tokens of the prompt without the image's.
        answer: tokens of the answer.

    Raises:
        ConfigError: no such preset.
    """
    precision = precision or precision_of("zero2", "bfloat16")
    model = trained_on_meta(preset, precision)
    lengths = Lengths(token_grid(preset), question, answer)
    plain, again = (step_of_one(model, lengths, precision, checkpointing=mode) for mode in (False, True))
    kept, checkpointed = (
        count_activations(model, lengths, one, checkpointing=mode, autocast=precision.autocast)
        for mode, one in ((False, plain), (True, again))
    )
    config: Any = model.config
    side = config.sam["image_size"] // MASK_SIDE_SHARE
    text = config.lvlm_config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Cost(
        preset=preset,
        precision=precision,
        lengths=lengths,
        parameters=sum(p.numel() for n, p in model.named_parameters() if "lora_" not in n),
        trainable=trained_count(model),
        counts=count_weights(model),
        forward=plain.forward,
        backward=plain.backward,
        recomputed=again.backward - plain.backward,
        kept=kept,
        checkpointed=checkpointed,
        cache_a_token=2 * text.num_hidden_layers * text.num_key_value_heads * head * SAVED,
        embedding=config.sam["prompt_dim"] * side**2 * BYTES["bfloat16"],
        sam_encoder=plain.modules.get("segmenter.image_encoder", 0),
    )
