"""Names of weights in a published LISA or Sim4Seg checkpoint, and what they are called here.

The layout is LLaVA v1's (one linear projector, or LLaVA 1.5's two layers) with SAM under ``model.visual_model`` and the
projection of hidden states under ``model.text_hidden_fcs``; CLIP is left out when LISA is saved, and loaded apart
(dvlab-research/LISA, arXiv 2308.00692).
"""

from __future__ import annotations

from fnmatch import fnmatchcase

LISA_PREFIXES = {
    "lm_head.": "lvlm.lm_head.",
    "model.embed_tokens.": "lvlm.model.language_model.embed_tokens.",
    "model.layers.": "lvlm.model.language_model.layers.",
    "model.norm.": "lvlm.model.language_model.norm.",
    "model.mm_projector.0.": "lvlm.model.multi_modal_projector.linear_1.",
    "model.mm_projector.2.": "lvlm.model.multi_modal_projector.linear_2.",
    "model.mm_projector.": "lvlm.model.multi_modal_projector.linear_1.",
    "model.text_hidden_fcs.0.": "projection.",
    "model.visual_model.": "segmenter.",
    "model.vision_tower.vision_tower.vision_model.": "lvlm.model.vision_tower.",
}
"""The first that fits counts."""

CLIP_PREFIXES = {"vision_model.": "lvlm.model.vision_tower."}

NOT_NEEDED = {
    "*.rotary_emb.inv_freq": "computed from the configuration",
    "*.embeddings.position_ids": "0, 1, 2, ...",
    "model.visual_model.pixel_mean": "part of the processor",
    "model.visual_model.pixel_std": "part of the processor",
    "text_model.*": "CLIP's text half",
    "text_projection.weight": "CLIP's text half",
    "visual_projection.weight": "CLIP's head, which LLaVA does not use",
    "logit_scale": "CLIP's text half",
}
"""Names that have no place here, and why nothing is lost without them."""


def our_name(name: str, prefixes: dict[str, str]) -> str | None:
    """What a published weight is called here; None where no prefix fits."""
    for theirs, ours in prefixes.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return None


def matches(name: str, patterns: list[str] | tuple[str, ...] | dict[str, str]) -> bool:
    """Whether a name fits one of the shell patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
