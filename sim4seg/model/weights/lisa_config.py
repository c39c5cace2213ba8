"""Our configuration for a published LISA or Sim4Seg checkpoint, from its config.json, its shapes and CLIP's config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.errors import ModelError
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.frames import IMAGE, Frames
from sim4seg.model.weights.bounded_json import read_object
from sim4seg.model.weights.lisa_template import LISA_TEMPLATE
from sim4seg.model.weights.sam_sizes import Shape, sam_sizes

LANGUAGE = (
    "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act",
    "rope_theta", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip
"""Taken from config.json; the other sizes are read off the weights."""

CLIP_LARGE: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14
}  # fmt: skip
TOWERS = {
    "openai/clip-vit-large-patch14": {**CLIP_LARGE, "image_size": 224},
    "openai/clip-vit-large-patch14-336": {**CLIP_LARGE, "image_size": 336},
}
"""Image encoders whose sizes are known by name."""


def _language(theirs: dict[str, Any], shapes: Mapping[str, Shape], vocabulary: int, where: str) -> LlamaConfig:
    hidden = shapes["model.embed_tokens.weight"][1]
    read = {
        "vocab_size": shapes["model.embed_tokens.weight"][0],
        "hidden_size": hidden,
        "intermediate_size": shapes["model.layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": len({n.split(".")[2] for n in shapes if n.startswith("model.layers.")}),
    }
    wrong = {name: (theirs[name], value) for name, value in read.items() if theirs.get(name, value) != value}
    if wrong:
        name, (stated, actual) = sorted(wrong.items())[0]
        raise ModelError(
            f"config.json says {name} {stated}, the weights say {actual}",
            where=where,
            remedy="give config.json and weights of one revision",
        )
    heads = theirs.get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1 or hidden % heads:
        raise ModelError(
            f"num_attention_heads is {heads!r}, the hidden size {hidden}", where=where, remedy="mend config.json"
        )
    stated = {name: theirs[name] for name in LANGUAGE if theirs.get(name) is not None}
    return LlamaConfig(**{**read, **stated, "vocab_size": vocabulary, "tie_word_embeddings": False})


def clip_config(theirs: dict[str, Any], clip: Path | None, where: str) -> CLIPVisionConfig:
    """The image encoder's configuration: of ``clip`` if given, else by the name that config.json gives.

    Raises:
        ModelError: neither says it.
    """
    if clip is not None:
        content = read_object(clip / "config.json")
        return CLIPVisionConfig(**content.get("vision_config", content))
    name = theirs.get("mm_vision_tower") or theirs.get("vision_tower")
    if name not in TOWERS:
        raise ModelError(
            f"the sizes of the image encoder {name!r} are not known",
            where=where,
            remedy="give its folder (config.json and weights) with --clip",
        )
    return CLIPVisionConfig(**TOWERS[name])


def lisa_config(
    theirs: dict[str, Any],
    shapes: Mapping[str, Shape],
    clip: Path | None,
    ids: dict[str, int],
    vocabulary: int,
    where: str,
) -> Sim4SegConfig:
    """The configuration.

    Args:
        theirs: content of config.json.
        shapes: of the checkpoint's weights, by their published names.
        clip: folder of the image encoder.
        ids: of ``<image>`` and ``[SEG]``.
        vocabulary: rows of the word embeddings, as they will be written.
        where: for messages.

    Raises:
        ModelError: something needed is missing or contradicts the rest.
    """
    for name in ("model.embed_tokens.weight", "model.layers.0.mlp.gate_proj.weight"):
        if len(shapes.get(name, ())) != 2:
            raise ModelError(
                f"{name} is missing or not a matrix", where=where, remedy="give a LISA or Sim4Seg checkpoint"
            )
    if theirs.get("mm_vision_select_feature", "patch") != "patch":
        raise ModelError(
            "the checkpoint gives CLIP's class token to the language model; its tokens are no square grid",
            where=where,
            remedy="use a checkpoint with mm_vision_select_feature: patch",
        )
    vision = clip_config(theirs, clip, where)
    two_layers = "model.mm_projector.2.weight" in shapes
    lvlm = LlavaConfig(
        vision_config=vision,
        text_config=_language(theirs, shapes, vocabulary, where),
        image_token_index=ids["<image>"],
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=int(theirs.get("mm_vision_select_layer", -2)),
        vision_feature_select_strategy="default",
        # LLaVA v1 projects with one linear layer: the second becomes the identity, with nothing between them.
        projector_hidden_act="gelu" if two_layers else "linear",
        tie_word_embeddings=False,
    )
    prefix = "model.visual_model."
    sam = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    return Sim4SegConfig(lvlm_config=lvlm, sam=sam_sizes(sam, where), seg_token_id=ids[SEG_TOKEN])


def lisa_frames(config: Sim4SegConfig, theirs: dict[str, Any]) -> Frames:
    """Images and prompts as LISA gives them: CLIP's own middle square, and the image between its two marks.

    Args:
        config: of :func:`lisa_config`.
        theirs: content of config.json.
    """
    vision: Any = cast(Any, config.lvlm_config).vision_config
    marks = theirs.get("mm_use_im_start_end", True)
    return Frames(
        sam_size=cast(Any, config.sam)["image_size"],
        vision_size=vision.image_size,
        vision_patch=vision.patch_size,
        vision_fit="crop",
        vision_resample="bicubic",
        template=LISA_TEMPLATE if marks else LISA_TEMPLATE.replace(f"<im_start>{IMAGE}<im_end>", IMAGE),
    )
