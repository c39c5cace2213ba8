"""Image and mask files as datasets publish them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITY = 95


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a (H, W) or (H, W, 3) uint8 image as JPEG or PNG, as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        # Full chroma: colour decides some diagnoses and some edges.
        picture.save(path, quality=JPEG_QUALITY, subsampling=0)
    else:
        picture.save(path)


def save_mask(path: Path, mask: NDArray[np.bool_], mode: str = "L") -> None:
    """Write a (H, W) bool mask as 0/255 in PIL mode ``1``, ``L``, ``RGB`` or ``RGBA``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).convert(mode)
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        picture.save(path, quality=JPEG_QUALITY)
    else:
        picture.save(path)


def image_size(path: Path) -> tuple[int, int] | None:
    """(width, height) from an image's header, nothing decoded; None if PIL cannot tell."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
