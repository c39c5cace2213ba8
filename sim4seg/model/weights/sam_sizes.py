"""SAM's sizes, read off the shapes of its weights; nothing in its files says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim4seg.errors import ModelError

Shape = tuple[int, ...]
DECODER_HEADS = 8
"""Of every published SAM; cannot be read off the shapes."""


def sam_sizes(shapes: Mapping[str, Shape], where: str) -> dict[str, Any]:
    """Sizes as in :data:`sim4seg.model.configuration.SAM_DEFAULTS`.

    Args:
        shapes: by name, as in segment_anything's state dict (``image_encoder.pos_embed`` ...).
        where: for messages.

    Raises:
        ModelError: a weight that gives a size is missing or has an impossible shape.
    """
    try:
        return _read(shapes)
    except (KeyError, ValueError, ZeroDivisionError, IndexError) as error:
        raise ModelError(
            f"SAM's sizes cannot be read off its weights: {error!r}",
            where=where,
            remedy="give a checkpoint with SAM's image encoder, prompt encoder and mask decoder",
        ) from error


def _count(shapes: Mapping[str, Shape], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in shapes if name.startswith(prefix)})


def _read(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    _, grid, _, dim = shapes["image_encoder.pos_embed"]
    patch = shapes["image_encoder.patch_embed.proj.weight"][-1]
    depth = _count(shapes, "image_encoder.blocks.")
    spans = [shapes[f"image_encoder.blocks.{block}.attn.rel_pos_h"] for block in range(depth)]
    # A block looks over 2 * side - 1 relative positions; side is the whole grid where attention is global.
    windows = {(length + 1) // 2 for length, _ in spans} - {grid}
    if len(windows) > 1:
        raise ValueError(f"the encoder's blocks have attention windows of several sizes: {sorted(windows)}")
    return {
        "image_size": grid * patch,
        "patch_size": patch,
        "embed_dim": dim,
        "depth": depth,
        "num_heads": dim // spans[0][1],
        "global_attn_indexes": [index for index, (length, _) in enumerate(spans) if (length + 1) // 2 == grid],
        "window_size": windows.pop() if windows else 0,
        "prompt_dim": shapes["image_encoder.neck.0.weight"][0],
        "mask_in_chans": shapes["prompt_encoder.mask_downscaling.3.weight"][0],
        "decoder_depth": _count(shapes, "mask_decoder.transformer.layers."),
        "decoder_mlp_dim": shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        "decoder_heads": DECODER_HEADS,
        "conv_stem": False,
    }
