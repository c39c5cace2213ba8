"""Qwen2.5-VL: images at their own aspect ratio, so that every image has a token grid of its own (arXiv 2502.13923)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2VLImageProcessor

from sim4seg.errors import ModelError
from sim4seg.model.families.base import Family
from sim4seg.model.frames import Frames, Seen

MERGE = 2
"""Patches a side that become one token."""
TEMPORAL = 2
"""Frames of a video patch; an image is shown twice."""
MOST_ASPECT = 190
"""Narrower strips are padded: Qwen's resizing refuses 200 and above."""


class Qwen25VL(Family):
    """``Qwen2_5_VLForConditionalGeneration``."""

    model_type = "qwen2_5_vl"

    def check(self, config: Any) -> None:  # noqa: D102
        vision = config.vision_config
        if vision.spatial_merge_size != MERGE or vision.temporal_patch_size != TEMPORAL:
            raise ModelError(
                f"the token grid of this Qwen2.5-VL is not known: it merges {vision.spatial_merge_size} patches a "
                f"side and {vision.temporal_patch_size} frames, not {MERGE} and {TEMPORAL}",
                remedy="use a published Qwen2.5-VL, or add its family (sim4seg/model/families)",
            )

    def see(self, pixels: Tensor, frames: Frames) -> Seen:  # noqa: D102
        height, width = pixels.shape[-2:]
        rows, columns = max(height, -(-width // MOST_ASPECT)), max(width, -(-height // MOST_ASPECT))
        padded = F.pad(pixels, (0, columns - width, 0, rows - height)).expand(1, 3, rows, columns)
        output = _processor(frames)(padded[0], return_tensors="pt")
        grid = output["image_grid_thw"][0].tolist()
        affine = (width / columns, 0.0, height / rows, 0.0)
        return Seen(output["pixel_values"], (grid[1] // MERGE, grid[2] // MERGE), affine)

    def image_kwargs(  # noqa: D102
        self, lvlm: Any, input_ids: Tensor, pixel_values: Tensor, grid: Tensor
    ) -> dict[str, Tensor]:
        patches = grid * MERGE
        rows = [row[:count] for row, count in zip(pixel_values, patches.prod(1).tolist(), strict=True)]
        return {
            "pixel_values": torch.cat(rows),
            "image_grid_thw": torch.cat((torch.ones_like(patches[:, :1]), patches), dim=1),
            # Tells where positions are counted in two dimensions.
            "mm_token_type_ids": (input_ids == self.image_token_id(lvlm.config)).int(),
        }

    def pixels_shape(self, config: Any, grid: tuple[int, int]) -> tuple[int, ...]:  # noqa: D102
        return (grid[0] * grid[1] * MERGE**2, 3 * TEMPORAL * config.vision_config.patch_size**2)

    def vision_tower(self, lvlm: Any) -> nn.Module:  # noqa: D102
        tower: nn.Module = lvlm.model.visual
        return tower


@lru_cache(maxsize=4)
def _processor(frames: Frames) -> Any:
    least, most = frames.vision_pixels
    return Qwen2VLImageProcessor(
        size={"shortest_edge": least, "longest_edge": most},
        patch_size=frames.vision_patch // MERGE,
        merge_size=MERGE,
        temporal_patch_size=TEMPORAL,
        image_mean=list(frames.vision_mean),
        image_std=list(frames.vision_std),
    )
