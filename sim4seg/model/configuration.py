"""Configuration of the Sim4Seg model: an LVLM, a segmenter and the region rule between them."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig
from transformers.configuration_utils import SubConfigSpec

SAM_DEFAULTS: dict[str, Any] = {
    "image_size": 1024,
    "patch_size": 16,
    "embed_dim": 1280,
    "depth": 32,
    "num_heads": 16,
    "global_attn_indexes": [7, 15, 23, 31],
    "window_size": 14,
    "prompt_dim": 256,
    "mask_in_chans": 16,
    "decoder_depth": 2,
    "decoder_mlp_dim": 2048,
    "decoder_heads": 8,
    "conv_stem": False,
}
"""SAM ViT-H, as ``segment_anything.build_sam`` builds it."""

PAPER_REGION: dict[str, Any] = {
    "enabled": True, "grid": 16, "rule": "top_n", "top_n": 36, "mass": 0.8
}  # fmt: skip
"""The paper's RVLS2M (arXiv 2511.06665): 36 of 16 x 16 cells. Of a saved model whose config does not say otherwise.

``mass`` is of a rule that is not the paper's."""

PAPER_LOSS: dict[str, float] = {
    "text": 1.0, "bce": 2.0, "dice": 0.5, "region": 0.0, "iou": 0.0, "align": 0.0, "attend": 0.0, "conclusion": 1.0,
    "align_reasoning": 0.3, "align_conclusion": 2.0
}  # fmt: skip
"""The paper's loss (arXiv 2511.06665): text 1, bce 2, dice 0.5, and each of ours so that it changes nothing.

The last two are not the paper's; they are shares of ``align`` and have no effect while that is 0.
"""


class Sim4SegConfig(PretrainedConfig):  # type: ignore[misc]
    """Everything needed to build the model without weights.

    Attributes:
        lvlm_config: config of an image-text-to-text model of a known family (:mod:`sim4seg.model.families`).
        sam: sizes of the segmenter, see :data:`SAM_DEFAULTS`.
        region: RVLS2M settings (paper: g = 16, top_n = 36).
        loss: weights of the training loss (paper: text 1, bce 2, dice 0.5).
        seg_token_id: id of ``[SEG]``.
        vision_conv_stem: replace CLIP's patch embedding with a small stack of convolutions
            (only useful when training from scratch).
    """

    model_type = "sim4seg"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "lvlm_config": SubConfigSpec(config_class=AutoConfig, model_type="llava")
    }

    lvlm_config: dict[str, Any] | PretrainedConfig | None = None
    sam: dict[str, Any] | None = None
    region: dict[str, Any] | None = None
    loss: dict[str, Any] | None = None
    seg_token_id: int = -1
    vision_conv_stem: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.sam = {**SAM_DEFAULTS, **(self.sam or {})}
        self.region = {**PAPER_REGION, **(self.region or {})}
        self.loss = {**PAPER_LOSS, **(self.loss or {})}
        super().__post_init__(**kwargs)


AutoConfig.register(Sim4SegConfig.model_type, Sim4SegConfig, exist_ok=True)
