"""The presets by name. Those with published weights have a small sibling of the same build, ``<name>-small``."""

from __future__ import annotations

from sim4seg.model.mobile_encoder import SAM_MOBILE
from sim4seg.model.presets import llava, mobile, qwen, smol
from sim4seg.model.presets.preset import Preset, TokenVocabulary
from sim4seg.model.presets.sizes import SAM_VIT_B
from sim4seg.model.presets.tiny import tiny
from sim4seg.model.weights.lisa_template import LISA_TEMPLATE

SAM_H = "sam_vit_h_4b8939.pth of facebookresearch/segment-anything"
LLAVA_7B = "llava-hf/llava-1.5-7b-hf, the folder with config.json, tokenizer and safetensors"
LISA_VOCABULARY = TokenVocabulary(size=32004, image=32003, seg=32000, bos=1, eos=2, pad=0)
"""Vicuna's 32,000 words, then ``[SEG]``, ``<im_start>``, ``<im_end>``, and our ``<image>``."""
LLAVA_VOCABULARY = TokenVocabulary(size=32003, image=32000, seg=32002, bos=1, eos=2, pad=32001)
QWEN_VOCABULARY = TokenVocabulary(size=151666, image=151655, seg=151665, bos=151643, eos=151645, pad=151643)
SMOL_VOCABULARY = TokenVocabulary(size=49154, image=49152, seg=49153, bos=1, eos=2, pad=2)
"""SmolLM2's 49,152 words, then ``<image>`` and ``[SEG]``."""
SMOL_TRAINED = ("embed_tokens", "multi_modal_projector", "projection", "segmenter")

PRESETS: dict[str, Preset] = {
    "tiny": Preset(tiny, identity_start=True),
    "paper": Preset(
        llava.LlavaPreset(image_size=224, fit="crop", template=LISA_TEMPLATE, projector="linear"),
        LISA_VOCABULARY,
        lvlm="xinlai/LISA-7B-v1, then `sim4seg convert-lisa` on its folder; the folder that this writes",
    ),
    "llava-1.5": Preset(llava.LlavaPreset(rows=32064), LLAVA_VOCABULARY, lvlm=LLAVA_7B, sam=SAM_H),
    "medsam": Preset(
        llava.LlavaPreset(rows=32064, sam=SAM_VIT_B, sam_normal=False),
        LLAVA_VOCABULARY,
        lvlm=LLAVA_7B,
        sam="medsam_vit_b.pth of bowang-lab/MedSAM",
    ),
    "qwen2.5-vl": Preset(
        qwen.QwenPreset(),
        QWEN_VOCABULARY,
        lvlm="Qwen/Qwen2.5-VL-7B-Instruct, the folder with config.json, tokenizer and safetensors",
        sam=SAM_H,
    ),
    "smol": Preset(
        smol.SmolPreset(),
        SMOL_VOCABULARY,
        lvlm="the packages of `make smol`; the folder that `sim4seg make-smol` writes",
        trained=SMOL_TRAINED,
        seg_row_only=True,
    ),
    "mobile": Preset(
        mobile.MobilePreset(SAM_MOBILE),
        sam="the packages of `make smol`; the file that `sim4seg make-mobile` writes",
        identity_start=True,
        frozen=mobile.FROZEN,
    ),
    "paper-small": Preset(llava.small(56, "crop", "linear")),
    "llava-1.5-small": Preset(llava.small(84, "centre")),
    "medsam-small": Preset(llava.small(84, "centre", sam={"depth": 1, "global_attn_indexes": [0]})),
    "qwen2.5-vl-small": Preset(qwen.SMALL),
    "smol-small": Preset(smol.SMALL, trained=SMOL_TRAINED, seg_row_only=True),
    "mobile-small": Preset(mobile.MobilePreset(mobile.SAM_MOBILE_SMALL, 64), identity_start=True, frozen=mobile.FROZEN),
}
