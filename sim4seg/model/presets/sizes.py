"""Sizes of the published parts, and of small ones of the same build for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import CLIPVisionConfig, LlamaConfig

from sim4seg.model.presets.preset import TokenVocabulary

SAM_VIT_H: dict[str, Any] = {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_attn_indexes": [7, 15, 23, 31]}
SAM_VIT_B: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12, "global_attn_indexes": [2, 5, 8, 11]}
SAM_SMALL: dict[str, Any] = {
    "image_size": 128,
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 4,
    "global_attn_indexes": [1],
    "window_size": 4,
    "prompt_dim": 32,
    "mask_in_chans": 8,
    "decoder_mlp_dim": 64,
    "decoder_heads": 4,
}


@dataclass(frozen=True)
class Transformer:
    """Sizes of a transformer stack."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int = 0


LLAMA_7B = Transformer(4096, 11008, 32, 32, 32)
CLIP_L = Transformer(1024, 4096, 24, 16)
LLAMA_SMALL = Transformer(64, 160, 2, 4, 4)
CLIP_SMALL = Transformer(32, 64, 3, 4)


def clip(size: Transformer, image_size: int, patch_size: int) -> CLIPVisionConfig:
    """CLIP's image encoder."""
    return CLIPVisionConfig(
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        image_size=image_size,
        patch_size=patch_size,
        projection_dim=768,
    )


def llama(size: Transformer, vocabulary: TokenVocabulary, rows: int, context: int, **more: Any) -> LlamaConfig:
    """A language model of Llama's build with ``rows`` word embeddings; ``more`` is what sets it apart."""
    return LlamaConfig(
        vocab_size=rows,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=context,
        rms_norm_eps=1e-5,
        bos_token_id=vocabulary.bos,
        eos_token_id=vocabulary.eos,
        pad_token_id=vocabulary.pad,
        **more,
    )
