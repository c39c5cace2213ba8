"""Presets of Qwen2.5-VL: every image at its own size and aspect, so with a token grid of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import Qwen2_5_VLConfig

from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.frames import IMAGE, QUESTION, Frames
from sim4seg.model.presets.preset import TokenVocabulary
from sim4seg.model.presets.sizes import SAM_SMALL, SAM_VIT_H, Transformer

QWEN_TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    f"<|im_start|>user\n<|vision_start|>{IMAGE}<|vision_end|>{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
)
QWEN_VISION = Transformer(1280, 3420, 32, 16)
QWEN_TEXT = Transformer(3584, 18944, 28, 28, 4)
TOKEN = 28
"""Pixels a side of an image token: two by two patches of 14."""


@dataclass(frozen=True)
class QwenPreset:
    """A Qwen2.5-VL and a SAM; the defaults are Qwen2.5-VL-7B's.

    Attributes:
        vision, text: sizes.
        full_layers: layers of the image encoder without windows.
        window: pixels a side of a window.
        rows: least number of word embeddings.
        rotary: channel pairs that turn with time, row and column.
        tokens: least and most image tokens.
        image_token, template, answer_start: as in :class:`sim4seg.model.frames.Frames`.
        sam: what differs from SAM ViT-H.
    """

    vision: Transformer = QWEN_VISION
    text: Transformer = QWEN_TEXT
    full_layers: tuple[int, ...] = (7, 15, 23, 31)
    window: int = 112
    rows: int = 152064
    rotary: tuple[int, int, int] = (16, 24, 24)
    tokens: tuple[int, int] = (64, 576)
    image_token: str = "<|image_pad|>"
    template: str = QWEN_TEMPLATE
    answer_start: str = ""
    sam: dict[str, Any] = field(default_factory=lambda: SAM_VIT_H)

    def __call__(self, vocabulary: TokenVocabulary) -> tuple[Sim4SegConfig, Frames]:
        """Configuration and frames."""
        text = {
            "vocab_size": max(self.rows, vocabulary.size),
            "hidden_size": self.text.hidden,
            "intermediate_size": self.text.intermediate,
            "num_hidden_layers": self.text.layers,
            "num_attention_heads": self.text.heads,
            "num_key_value_heads": self.text.kv_heads,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": list(self.rotary)},
            "bos_token_id": vocabulary.bos,
            "eos_token_id": vocabulary.eos,
            "pad_token_id": vocabulary.pad,
        }
        vision = {
            "hidden_size": self.vision.hidden,
            "intermediate_size": self.vision.intermediate,
            "depth": self.vision.layers,
            "num_heads": self.vision.heads,
            "out_hidden_size": self.text.hidden,
            "fullatt_block_indexes": list(self.full_layers),
            "window_size": self.window,
        }
        # Ids of marks that only videos and Qwen's own processor need must not fall on one of ours.
        lvlm = Qwen2_5_VLConfig(text_config=text, vision_config=vision, image_token_id=vocabulary.image)
        config = Sim4SegConfig(lvlm_config=lvlm, sam=self.sam, seg_token_id=vocabulary.seg)
        frames = Frames(
            sam_size=config.sam["image_size"],  # type: ignore[index]
            vision_patch=TOKEN,
            vision_fit="any",
            vision_resample="bicubic",
            vision_pixels=(self.tokens[0] * TOKEN**2, self.tokens[1] * TOKEN**2),
            family="qwen2_5_vl",
            image_token=self.image_token,
            template=self.template,
            answer_start=self.answer_start,
        )
        return config, frames


SMALL = QwenPreset(
    vision=Transformer(32, 64, 2, 2),
    text=Transformer(64, 160, 2, 4, 2),
    full_layers=(1,),
    window=56,
    rows=0,
    rotary=(2, 3, 3),
    tokens=(4, 24),
    image_token="<image>",
    template=f"USER: {IMAGE}\n{QUESTION} ASSISTANT:",
    answer_start=" ",
    sam=SAM_SMALL,
)
