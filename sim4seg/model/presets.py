"""Named model sizes. A preset is a function from a tokenizer to a configuration and the frames of its images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, PreTrainedTokenizerBase

from sim4seg.config import LossWeights, Region
from sim4seg.errors import ConfigError
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.processing import Frames, Sim4SegProcessor


def _tiny(tokenizer: PreTrainedTokenizerBase) -> tuple[Sim4SegConfig, Frames]:
    """Trained from scratch on a CPU in minutes: 12x12 image tokens, SAM at 256 px."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=192,
        patch_size=16,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=3,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        # 1/sqrt(hidden_size); the usual 0.02 is for thousands of channels and leaves attention flat at 160.
        initializer_range=0.08,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    lvlm = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=144,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    sam = {
        "image_size": 256,
        "embed_dim": 160,
        "depth": 3,
        "num_heads": 5,
        "global_attn_indexes": [0, 2],
        "window_size": 8,
        "prompt_dim": 128,
        "mask_in_chans": 16,
        "decoder_mlp_dim": 256,
        "decoder_heads": 4,
        "conv_stem": True,
    }
    config = Sim4SegConfig(
        lvlm_config=lvlm,
        sam=sam,
        seg_token_id=tokenizer.convert_tokens_to_ids("[SEG]"),
        vision_conv_stem=True,
    )
    return config, Frames(sam_size=256, vision_size=192, vision_patch=16)


PRESETS: dict[str, Callable[[PreTrainedTokenizerBase], tuple[Sim4SegConfig, Frames]]] = {"tiny": _tiny}


def build(
    preset: str, tokenizer: PreTrainedTokenizerBase, region: Region, loss: LossWeights, seed: int
) -> tuple[Sim4SegForConditionalGeneration, Sim4SegProcessor]:
    """A freshly initialised model of a preset; the same seed gives the same weights.

    Raises:
        ConfigError: no such preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}", where="train.preset", remedy=f"use one of {sorted(PRESETS)}")
    config, frames = PRESETS[preset](tokenizer)
    config.region = region.model_dump()
    config.loss = loss.model_dump()
    torch.manual_seed(seed)
    model = Sim4SegForConditionalGeneration(config)
    _start_as_identity(model)
    if loss.attend:
        # The fused kernels do not give attention away. Not saved: a loaded model uses the fused ones.
        model.lvlm.model.language_model.set_attn_implementation("eager")
    return model, Sim4SegProcessor(tokenizer, frames)


def _start_as_identity(model: Sim4SegForConditionalGeneration) -> None:
    """Let each layer of the language model begin by adding nothing to what goes through it.

    Otherwise the first layer's random output is fifteen times as large as the word embeddings, and words and image
    features have to be dug out of it before anything can be learnt from them. Zero output projections are common
    practice for short training runs from scratch (Zhang et al. 2019, Fixup, arXiv 1901.09321).
    """
    for layer in model.lvlm.model.language_model.layers:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
