"""A preset at its full size with random weights, made where it is to run, and batches for it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sim4seg.config.train import Train
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets import TokenVocabulary, preset_named
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.model.tokenizer import load_tokenizer, train_tokenizer
from sim4seg.plan.dry_run import Lengths, make_batch
from sim4seg.plan.step_cost import ANSWER_TOKENS, QUESTION_TOKENS, token_grid
from sim4seg.training.attention_kernels import set_attention
from sim4seg.training.lora import add_lora
from sim4seg.training.precision import cast_weights

QUESTION = "Where is the lesion in this image, and what is the diagnosis?"
Built = tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]


def small_tokenizer() -> Any:
    """A tokenizer of a few words; the published one is not at hand, and its words do not change what a step costs."""
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer([QUESTION, "Sure, it is [SEG]. Finally: benign"], 400, Path(folder) / "tokenizer")
        return load_tokenizer(Path(folder) / "tokenizer")


def build_there(params: Train, device: torch.device) -> Built:
    """The preset as its training begins, with weights drawn on ``device`` and none on the CPU.

    Args:
        params: preset, losses, attention, and in what frozen weights are held; its weights' paths are not looked at.
        device: where the model is made and stays.
    """
    chosen, tokenizer = preset_named(params.preset), small_tokenizer()
    image = chosen.configure(TokenVocabulary(len(tokenizer), 0, 1, None, 2, 0))[1].image_token
    words = TokenVocabulary.of(tokenizer, image)
    rows = chosen.vocabulary.size if chosen.vocabulary else words.size
    config, frames = chosen.configure(replace(words, size=rows))
    config.region, config.loss = params.region.model_dump(), params.loss.model_dump()
    torch.manual_seed(0)
    with device:
        model = Sim4SegForConditionalGeneration(config)
        if params.lora:
            add_lora(model, chosen.trained, chosen.seg_row_only)
    if params.attention != "auto":
        set_attention(model, params.attention)
    cast_weights(model, getattr(torch, params.weights.dtype))
    return model, Sim4SegProcessor(tokenizer, frames)


def lengths_of(preset: str) -> Lengths:
    """Those that `sim4seg plan` counts with."""
    return Lengths(token_grid(preset), QUESTION_TOKENS, ANSWER_TOKENS)


def random_batch(model: Sim4SegForConditionalGeneration, lengths: Lengths, size: int) -> dict[str, Tensor]:
    """``size`` samples of these lengths on the model's device: random words and pixels, since zeros are quicker.

    Shapes as :meth:`Sim4SegForConditionalGeneration.forward` has them; images fill SAM's width and three quarters of
    its height.
    """
    draws = torch.Generator().manual_seed(1)
    batch = make_batch(model, lengths, size, "cpu")
    batch = {name: value.float() if value.is_floating_point() else value for name, value in batch.items()}
    ids = batch["input_ids"]
    special = (ids == model.config.seg_token_id) | (ids == model.family.image_token_id(model.config.lvlm_config))
    words = torch.randint(5, model.lm_head.out_features, ids.shape, generator=draws)
    batch["input_ids"] = torch.where(special, ids, words)
    batch["labels"] = torch.where(batch["labels"] == -100, batch["labels"], batch["input_ids"])
    for name in ("pixel_values", "sam_pixel_values"):
        batch[name] = torch.randn(batch[name].shape, generator=draws)
    batch["mask_labels"] = (torch.rand(batch["mask_labels"].shape, generator=draws) < 0.1).float()
    batch["vision_affine"] = torch.tensor([[1.0, 0.0, 1.0, 0.0]] * size)
    batch["sam_extent"] = torch.tensor([[0.75, 1.0]] * size)
    return {name: value.to(model.device) for name, value in batch.items()}
