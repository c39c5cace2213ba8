"""The preset ``smol``: pretrained parts that a CPU can train with, a language model of words and an ImageNet network.

No package carries weights of SAM or CLIP; SAM is ``tiny``'s and starts at random, as does the projector between the two
pretrained parts. Both are trained, beside adapters and the row of ``[SEG]``; the pretrained parts stay frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import LlamaConfig

from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.efficientnet_lite import EfficientNetLiteConfig, llava_config
from sim4seg.model.frames import IMAGE, QUESTION, Frames
from sim4seg.model.presets.preset import TokenVocabulary
from sim4seg.model.presets.sizes import LLAMA_SMALL, Transformer, llama
from sim4seg.model.presets.tiny import SAM_TINY

SMOLLM2_135M = Transformer(hidden=576, intermediate=1536, layers=30, heads=9, kv_heads=3)
CHAT = f"<|im_start|>user\n{IMAGE}\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class SmolPreset:
    """EfficientNet-lite0, a Llama with tied embeddings, ``tiny``'s SAM; called with a vocabulary.

    Attributes:
        text: sizes of the language model.
        template: the prompt.
        answer_start: what stands between prompt and answer.
        image_size: side of the vision tower's input, pixels.
    """

    text: Transformer = SMOLLM2_135M
    template: str = CHAT
    answer_start: str = ""
    image_size: int = 224

    def __call__(self, vocabulary: TokenVocabulary) -> tuple[Sim4SegConfig, Frames]:
        """Configuration and frames."""
        vision = EfficientNetLiteConfig(image_size=self.image_size)
        config = Sim4SegConfig(
            lvlm_config=llava_config(vision, smollm2_config(self.text, vocabulary), vocabulary.image),
            sam=SAM_TINY,
            seg_token_id=vocabulary.seg,
        )
        frames = Frames(
            sam_size=SAM_TINY["image_size"],
            vision_size=self.image_size,
            vision_patch=vision.patch_size,
            vision_resample="bicubic",
            template=self.template,
            answer_start=self.answer_start,
            # TensorFlow's networks of this family were trained on [-1, 1].
            vision_mean=(0.5, 0.5, 0.5),
            vision_std=(0.5, 0.5, 0.5),
        )
        return config, frames


def smollm2_config(size: Transformer, vocabulary: TokenVocabulary) -> LlamaConfig:
    """SmolLM2's build (arXiv 2502.02737) in a given size."""
    turns = {"rope_type": "default", "rope_theta": 100000.0}
    return llama(size, vocabulary, vocabulary.size, 8192, rope_parameters=turns, tie_word_embeddings=True)


SMALL = SmolPreset(LLAMA_SMALL, f"USER: {IMAGE}\n{QUESTION} ASSISTANT:", " ", 64)
