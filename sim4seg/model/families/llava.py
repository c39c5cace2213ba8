"""LLaVA 1.0 and 1.5: a square image, one token a patch, a projector, any causal language model (arXiv 2304.08485)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from sim4seg.errors import ModelError
from sim4seg.model.families.base import Family
from sim4seg.model.frames import Frames, Seen, fit, resize


class Llava(Family):
    """``LlavaForConditionalGeneration`` with a vision tower of fixed input size."""

    model_type = "llava"

    def check(self, config: Any) -> None:  # noqa: D102
        vision = config.vision_config
        size, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
        # Pixtral's towers of that name take any size, and their grid depends on the image.
        if not isinstance(size, int) or not isinstance(patch, int) or size % patch or vision.model_type == "pixtral":
            raise ModelError(
                f"the token grid of a LLaVA with a {vision.model_type!r} vision tower is not known "
                f"(image_size {size}, patch_size {patch})",
                remedy="use a tower with one square input, such as CLIP or SigLIP, or add its family "
                "(sim4seg/model/families)",
            )

    def see(self, pixels: Tensor, frames: Frames) -> Seen:  # noqa: D102
        side, own = frames.vision_size, (pixels.shape[-2], pixels.shape[-1])
        if frames.vision_fit == "crop":
            # Never stretched past what is kept: a strip is cut before it is resized, not after.
            pixels, start, shown = _middle(pixels)
            height, width, top, left = side, side, 0, 0
        else:
            start, shown = (0, 0), own
            height, width = fit(*own, side)
            centred = frames.vision_fit == "centre"
            top, left = ((side - height) // 2, (side - width) // 2) if centred else (0, 0)
        normal = resize(pixels, (height, width), frames.vision_mean, frames.vision_std, frames.vision_resample)
        square = F.pad(normal, (left, side - width - left, top, side - height - top))
        # image point -> pixel of the image -> pixel of the kept part -> pixel of the square -> share of the square
        scale = [own[axis] / shown[axis] * (height, width)[axis] / side for axis in (0, 1)]
        offset = [(-start[axis] / shown[axis] * (height, width)[axis] + (top, left)[axis]) / side for axis in (0, 1)]
        count = side // frames.vision_patch
        return Seen(square, (count, count), (scale[1], offset[1], scale[0], offset[0]))

    def image_kwargs(  # noqa: D102
        self, lvlm: Any, input_ids: Tensor, pixel_values: Tensor, grid: Tensor
    ) -> dict[str, Tensor]:
        return {"pixel_values": pixel_values}

    def pixels_shape(self, config: Any, grid: tuple[int, int]) -> tuple[int, ...]:  # noqa: D102
        return (3, config.vision_config.image_size, config.vision_config.image_size)

    def vision_tower(self, lvlm: Any) -> nn.Module:  # noqa: D102
        tower: nn.Module = lvlm.model.vision_tower
        return tower


def _middle(pixels: Tensor) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    """The middle square, its top left corner and its size."""
    height, width = pixels.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[..., top : top + side, left : left + side], (top, left), (side, side)
