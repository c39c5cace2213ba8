"""Presets of the LLaVA family: ``paper``, ``llava-1.5``, ``medsam``, and their small siblings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from transformers import LlavaConfig

from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.frames import IMAGE, QUESTION, Fit, Frames
from sim4seg.model.presets.preset import TokenVocabulary
from sim4seg.model.presets.sizes import (
    CLIP_L,
    CLIP_SMALL,
    LLAMA_7B,
    LLAMA_SMALL,
    SAM_SMALL,
    SAM_VIT_H,
    Transformer,
    clip,
    llama,
)

LLAVA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
"""LLaVA 1.5's, which is Vicuna's."""
LLAVA_TEMPLATE = f"<s>{LLAVA_SYSTEM} USER: {IMAGE}\n{QUESTION} ASSISTANT:"


@dataclass(frozen=True)
class LlavaPreset:
    """A LLaVA with CLIP, a Llama and a SAM; called with a vocabulary it gives configuration and frames.

    Attributes:
        image_size, patch_size: of CLIP, pixels.
        fit: how an image comes into CLIP's square, see :class:`sim4seg.model.frames.Frames`.
        template: the prompt.
        rows: least number of word embeddings; the published ones hold spare rows.
        projector: ``linear`` (LLaVA 1.0, LISA) or ``gelu`` (two layers, LLaVA 1.5).
        vision, text: sizes.
        sam: what differs from SAM ViT-H.
        sam_normal: SAM's mean and deviation of pixels; MedSAM was trained on plain [0, 1].
    """

    image_size: int = 336
    patch_size: int = 14
    fit: Fit = "centre"
    template: str = LLAVA_TEMPLATE
    rows: int = 0
    projector: str = "gelu"
    vision: Transformer = CLIP_L
    text: Transformer = LLAMA_7B
    sam: dict[str, Any] = field(default_factory=lambda: SAM_VIT_H)
    sam_normal: bool = True

    def __call__(self, vocabulary: TokenVocabulary) -> tuple[Sim4SegConfig, Frames]:
        """Configuration and frames."""
        lvlm = LlavaConfig(
            vision_config=clip(self.vision, self.image_size, self.patch_size),
            text_config=llama(self.text, vocabulary, max(self.rows, vocabulary.size), 4096),
            image_token_index=vocabulary.image,
            image_seq_length=(self.image_size // self.patch_size) ** 2,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
            projector_hidden_act=self.projector,
            tie_word_embeddings=False,
        )
        config = Sim4SegConfig(lvlm_config=lvlm, sam=self.sam, seg_token_id=vocabulary.seg)
        frames = Frames(
            sam_size=config.sam["image_size"],  # type: ignore[index]
            vision_size=self.image_size,
            vision_patch=self.patch_size,
            vision_fit=self.fit,
            vision_resample="bicubic",
            template=self.template,
        )
        if not self.sam_normal:
            frames = replace(frames, sam_mean=(0.0, 0.0, 0.0), sam_std=(1.0, 1.0, 1.0))
        return config, frames


def small(image_size: int, fit: Fit, projector: str = "gelu", sam: dict[str, Any] | None = None) -> LlavaPreset:
    """The same build a few hundred times smaller, for any tokenizer."""
    return LlavaPreset(
        image_size=image_size,
        patch_size=14,
        fit=fit,
        template=f"USER: {IMAGE}\n{QUESTION} ASSISTANT:",
        projector=projector,
        vision=CLIP_SMALL,
        text=LLAMA_SMALL,
        sam={**SAM_SMALL, **(sam or {})},
    )
