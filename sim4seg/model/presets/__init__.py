"""Named models: ``tiny``, trained from scratch on a CPU, and those that start from published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from sim4seg.config.train import LossWeights, Region, Train
from sim4seg.errors import ConfigError
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.presets.catalogue import PRESETS
from sim4seg.model.presets.preset import Preset, TokenVocabulary
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.model.tokenizer import load_tokenizer

__all__ = ["PRESETS", "Preset", "TokenVocabulary", "build", "on_meta", "prepare", "preset_named"]

Built = tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]


def preset_named(name: str) -> Preset:
    """A preset.

    Raises:
        ConfigError: no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", where="train.preset", remedy=f"use one of {sorted(PRESETS)}")
    return PRESETS[name]


def prepare(params: Train, tokenizer: Path | str, seed: int) -> Built:
    """The model that a training run starts from: published weights, or fresh ones for a preset without.

    ``train.weights.sam`` may name the SAM that a fresh one starts from as well.

    Args:
        params: the ``train`` section.
        tokenizer: folder of the tokenizer that ingest trained; for presets without published weights.
        seed: of what starts at random.

    Raises:
        ConfigError: no such preset, weights that it needs are not given or not there, or settings of
            ``train.weights`` that it would pass over.
        ModelError: the weights are not those of this preset.
    """
    # Late, since pretrained reads loaders that only a training run needs.
    from sim4seg.model.presets.pretrained import check_segmenter, from_weights, start_segmenter

    preset = preset_named(params.preset)
    _refuse_unused(params, preset)
    if preset.pretrained:
        model, processor = from_weights(params, preset, seed)
        return _watched(model, params.loss), processor
    check_segmenter(params.preset, preset, params.weights)
    model, processor = build(params.preset, load_tokenizer(tokenizer), params.region, params.loss, seed)
    start_segmenter(model, preset, params.weights)
    return model, processor


_OF_PRETRAINED = {"lvlm": "", "lvlm_revision": "", "lvlm_sha256": "", "dtype": "float32"}
"""Keys of ``train.weights`` that only presets with published weights use, and what they are for the others."""


def _refuse_unused(params: Train, preset: Preset) -> None:
    """Refuse what is set in ``train.weights`` and would be passed over without a word."""
    weights = params.weights
    for name, unset in () if preset.pretrained else _OF_PRETRAINED.items():
        if getattr(weights, name) != unset:
            raise ConfigError(
                f"the preset {params.preset!r} trains its language model from scratch, and train.weights.{name} is "
                f"{getattr(weights, name)!r}",
                where=f"train.weights.{name}",
                remedy=f"set it to {unset!r}, or choose a preset that starts from published weights",
            )
    if weights.sam_sha256 and not weights.sam:
        raise ConfigError(
            "there is no train.weights.sam that this digest could be compared with",
            where="train.weights.sam_sha256",
            remedy="give the path of the weights too, or set it to ''",
        )


def build(preset: str, tokenizer: PreTrainedTokenizerBase, region: Region, loss: LossWeights, seed: int) -> Built:
    """A freshly initialised model of a preset; the same seed gives the same weights.

    Raises:
        ConfigError: no such preset.
    """
    chosen = preset_named(preset)
    # The frames do not depend on the ids, and say which token stands for the image.
    placeholder = chosen.configure(TokenVocabulary(len(tokenizer), 0, 1, None, 2, 0))[1].image_token
    config, frames = chosen.configure(TokenVocabulary.of(tokenizer, placeholder))
    config.region = region.model_dump()
    config.loss = loss.model_dump()
    torch.manual_seed(seed)
    model = Sim4SegForConditionalGeneration(config)
    if chosen.identity_start:
        _start_as_identity(model)
    return _watched(model, loss), Sim4SegProcessor(tokenizer, frames)


def on_meta(
    preset: str, vocabulary: TokenVocabulary | None = None, dtype: torch.dtype = torch.float32
) -> Sim4SegForConditionalGeneration:
    """A model without memory for its weights, for counting.

    Args:
        preset: name.
        vocabulary: None = that of the published weights, or 1,024 ids for presets without.
        dtype: of the weights.

    Raises:
        ConfigError: no such preset.
    """
    chosen = preset_named(preset)
    words = vocabulary or chosen.vocabulary or TokenVocabulary(1024, 3, 4, 1, 2, 0)
    with torch.device("meta"):
        model = Sim4SegForConditionalGeneration(chosen.configure(words)[0])
    model.to(dtype)
    return model


def _watched(model: Sim4SegForConditionalGeneration, loss: LossWeights) -> Sim4SegForConditionalGeneration:
    """Attention where a loss looks at it: the fused kernels do not give it away. Not saved with the model."""
    if loss.attend:
        model.language_model.set_attn_implementation("eager")
    return model


def _start_as_identity(model: Sim4SegForConditionalGeneration) -> None:
    """Let each layer of the language model begin by adding nothing to what goes through it.

    Otherwise the first layer's random output is fifteen times as large as the word embeddings, and words and image
    features have to be dug out of it before anything can be learnt from them. Zero output projections are common
    practice for short training runs from scratch (Zhang et al. 2019, Fixup, arXiv 1901.09321).
    """
    layer: Any
    for layer in model.family.layers(model.lvlm):
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
