"""The preset ``mobile``, for real images on a CPU: two pretrained networks that see, ``tiny``'s words that answer.

The two networks (:mod:`sim4seg.model.mobile_encoder`) are frozen. Trained are the language model, which learns one kind
of text from scratch, SAM's prompt encoder and mask decoder, which start as MobileSAM's, and what brings the features to
both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.efficientnet_lite import EfficientNetLiteConfig, llava_config
from sim4seg.model.frames import Frames
from sim4seg.model.presets.preset import TokenVocabulary
from sim4seg.model.presets.tiny import small_llama

SAM_MOBILE_SMALL: dict[str, Any] = {
    "image_size": 64,
    "prompt_dim": 32,
    "mask_in_chans": 8,
    "decoder_mlp_dim": 64,
    "decoder_heads": 4,
    "pretrained_pair": {
        "widths": [8, 16, 16, 32],
        "depths": [1, 1, 1, 1],
        "heads": [1, 2, 2, 4],
        "windows": [7, 7, 14, 7],
    },
}
FROZEN = ("segmenter.image_encoder", "vision_tower")


@dataclass(frozen=True)
class MobilePreset:
    """EfficientNet-lite0, ``tiny``'s language model, MobileSAM; called with a vocabulary.

    Attributes:
        sam: sizes of the segmenter.
        vision_size: side of the LVLM's input, pixels; 256 gives the paper's 16 x 16 image tokens.
    """

    sam: dict[str, Any]
    vision_size: int = 256

    def __call__(self, vocabulary: TokenVocabulary) -> tuple[Sim4SegConfig, Frames]:
        """Configuration and frames."""
        vision = EfficientNetLiteConfig(image_size=self.vision_size)
        config = Sim4SegConfig(
            lvlm_config=llava_config(vision, small_llama(vocabulary), vocabulary.image),
            sam=self.sam,
            seg_token_id=vocabulary.seg,
        )
        frames = Frames(
            sam_size=self.sam["image_size"],
            vision_size=self.vision_size,
            vision_patch=vision.patch_size,
            # TensorFlow's networks of this family were trained on [-1, 1].
            vision_mean=(0.5, 0.5, 0.5),
            vision_std=(0.5, 0.5, 0.5),
        )
        return config, frames
