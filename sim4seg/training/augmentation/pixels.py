"""A draw applied to image and mask, by torchvision's and Pillow's transforms on Pillow images.

Those work in one thread and in whole numbers, so that no number of threads or processes changes a byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from sim4seg.training.augmentation.draw import Draw


def changed_image(image: NDArray[np.uint8], draw: Draw) -> NDArray[np.uint8]:
    """The image after a draw.

    Args:
        image: (H, W) or (H, W, 3) uint8.

    Returns:
        uint8 of the same kind; (W, H) after an odd number of quarter turns. What comes into view is black.
    """
    picture = Image.fromarray(np.ascontiguousarray(draw.rearranged(image)))
    if draw.warps:
        picture = _warped(picture, draw, InterpolationMode.BILINEAR)
    if draw.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(draw.blur * max(picture.size)))
    for change, amount, neutral in (
        (F.adjust_brightness, draw.brightness, 1.0),
        (F.adjust_contrast, draw.contrast, 1.0),
        (F.adjust_gamma, draw.gamma, 1.0),
        (F.adjust_saturation, draw.saturation, 1.0),
        (F.adjust_hue, draw.hue, 0.0),
    ):
        if amount != neutral:
            picture = change(picture, amount)
    if draw.noise:
        picture = Image.fromarray(_noisy(np.asarray(picture), draw))
    if draw.jpeg < 100:
        picture = F.jpeg(picture, draw.jpeg).convert(picture.mode)
    return np.asarray(picture)


def changed_mask(mask: NDArray[np.bool_], draw: Draw) -> NDArray[np.bool_]:
    """The mask (H, W) bool after the same draw, each pixel that of the nearest one; nothing comes into view."""
    turned = np.ascontiguousarray(draw.rearranged(mask))
    if not draw.warps:
        return turned
    picture = Image.fromarray(turned.astype(np.uint8) * 255)
    return np.asarray(_warped(picture, draw, InterpolationMode.NEAREST)) > 127


def _warped(picture: Image.Image, draw: Draw, interpolation: InterpolationMode) -> Image.Image:
    shift = [round(part * side) for part, side in zip(draw.shift, picture.size, strict=True)]
    moved: Image.Image = F.affine(picture, draw.angle, shift, draw.scale, [0.0, 0.0], interpolation=interpolation)
    return moved


def _noisy(pixels: NDArray[np.uint8], draw: Draw) -> NDArray[np.uint8]:
    """Grain of brightness: all channels of a pixel change by the same."""
    rng = np.random.default_rng(draw.noise_seed)
    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32) * np.float32(255 * draw.noise)
    spread = np.rint(grain).astype(np.int16)
    spread = spread if pixels.ndim == 2 else spread[..., None]
    noisy: NDArray[np.uint8] = np.clip(pixels + spread, 0, 255).astype(np.uint8)
    return noisy
