"""The preset that a CPU trains from scratch."""

from __future__ import annotations

from typing import Any

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.frames import Frames
from sim4seg.model.presets.preset import TokenVocabulary

SAM_TINY: dict[str, Any] = {
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


def small_llama(vocabulary: TokenVocabulary) -> LlamaConfig:
    """A language model that a CPU trains from scratch on one kind of text."""
    return LlamaConfig(
        vocab_size=vocabulary.size,
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=3,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        # 1/sqrt(hidden_size); the usual 0.02 is for thousands of channels and leaves attention flat at 160.
        initializer_range=0.08,
        bos_token_id=vocabulary.bos,
        eos_token_id=vocabulary.eos,
        pad_token_id=vocabulary.pad,
    )


def tiny(vocabulary: TokenVocabulary) -> tuple[Sim4SegConfig, Frames]:
    """Trained from scratch on a CPU in minutes: 12x12 image tokens, SAM at 256 px."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=192,
        patch_size=16,
    )
    lvlm = LlavaConfig(
        vision_config=vision,
        text_config=small_llama(vocabulary),
        image_token_index=vocabulary.image,
        image_seq_length=144,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    config = Sim4SegConfig(
        lvlm_config=lvlm,
        sam=SAM_TINY,
        seg_token_id=vocabulary.seg,
        vision_conv_stem=True,
    )
    return config, Frames(sam_size=256, vision_size=192, vision_patch=16)
