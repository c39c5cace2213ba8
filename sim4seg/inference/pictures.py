"""Pictures of a prediction: mask, overlay, similarity heat map; PNG without any metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sim4seg.atomic import atomic_file
from sim4seg.errors import Sim4SegError

TINT = (0, 200, 255)
TINT_OPACITY = 0.22
"""Weak, so that the tissue under the tint can still be judged."""
HEAT_OPACITY = 0.45


@dataclass(frozen=True)
class PictureFiles:
    """Where the pictures of one prediction were written."""

    mask: Path
    overlay: Path
    similarity: Path


def to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) uint8 -> (H, W, 3) uint8."""
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _blend(image: NDArray[np.uint8], colour: NDArray[np.float64], opacity: float) -> NDArray[np.uint8]:
    return np.rint(image * (1 - opacity) + colour * opacity).astype(np.uint8)


def draw_overlay(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The image with the mask tinted and outlined, (H, W, 3) uint8.

    The outline lies outside the mask and is doubled, bright inside dark, so that it shows on any background; its
    width grows with the image.
    """
    picture = to_rgb(image).copy()
    picture[mask] = _blend(picture[mask], np.array(TINT, dtype=np.float64), TINT_OPACITY)
    width = max(1, round(max(mask.shape) / 250))
    inner = ndimage.binary_dilation(mask, iterations=width)
    outer = ndimage.binary_dilation(mask, iterations=2 * width)
    picture[outer & ~inner] = 0
    picture[inner & ~mask] = TINT
    return picture


def draw_similarity(image: NDArray[np.uint8], similarity: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image under a heat map of the (g, g) similarity in [0, 1], dark = 0, yellow = 1; (H, W, 3) uint8."""
    height, width = image.shape[:2]
    cells = Image.fromarray(similarity.astype(np.float32))
    smooth = np.clip(np.asarray(cells.resize((width, height), Image.Resampling.BILINEAR)), 0, 1)
    colours = colormaps["inferno"](smooth)[..., :3] * 255
    return _blend(to_rgb(image), colours, HEAT_OPACITY)


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    with atomic_file(path) as partial:
        # From bare pixels, so nothing of the input file (EXIF, DICOM tags, time) can be carried over.
        Image.fromarray(pixels).save(partial, format="PNG")


def write_pictures(
    folder: Path, stem: str, image: NDArray[np.uint8], mask: NDArray[np.bool_], similarity: NDArray[np.float32]
) -> PictureFiles:
    """Write ``<stem>_mask.png`` (0 and 255), ``<stem>_overlay.png`` and ``<stem>_similarity.png`` into ``folder``.

    Raises:
        Sim4SegError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Sim4SegError(
            f"cannot make the folder for the pictures: {error.strerror}",
            where=str(folder),
            remedy="give another folder, or remove what is in the way",
        ) from error
    files = PictureFiles(*(folder / f"{stem}_{kind}.png" for kind in ("mask", "overlay", "similarity")))
    _save(np.where(mask, 255, 0).astype(np.uint8), files.mask)
    _save(draw_overlay(image, mask), files.overlay)
    _save(draw_similarity(image, similarity), files.similarity)
    return files
