"""Contact sheet of phantoms, with the masks' outlines in green."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from sim4seg.atomic import atomic_file
from sim4seg.data.phantoms.catalogue import KEYS, paint_case
from sim4seg.data.sample import PhantomCase
from sim4seg.errors import Sim4SegError

_TILE = 192


def _outlined(case: PhantomCase) -> Image.Image:
    image: NDArray[np.uint8] = case.image if case.image.ndim == 3 else np.repeat(case.image[..., None], 3, axis=2)
    image = image.copy()
    for structure in case.structures:
        image[structure.mask & ~ndimage.binary_erosion(structure.mask)] = (0, 255, 0)
    return Image.fromarray(image)


def contact_sheet(keys: tuple[str, ...], columns: int, seed: int, size: int) -> Image.Image:
    """A sheet with a row of ``columns`` training cases for each key (one key: six rows), labels written on them."""
    rows = [(key, row * columns) for key in keys for row in range(6 if len(keys) == 1 else 1)]
    sheet = Image.new("RGB", (columns * _TILE, len(rows) * _TILE))
    pen = ImageDraw.Draw(sheet)
    for row, (key, first) in enumerate(rows):
        for column in range(columns):
            case = paint_case(key, "train", first + column, seed=seed, size=size)
            tile = _outlined(case)
            tile.thumbnail((_TILE - 4, _TILE - 4))
            sheet.paste(tile, (column * _TILE, row * _TILE))
            pen.text((column * _TILE + 3, row * _TILE + 3), f"{key}: {case.label}", fill=(255, 255, 0))
    return sheet


def write_contact_sheet(out: Path, keys: tuple[str, ...], columns: int, seed: int, size: int) -> None:
    """Write a contact sheet as PNG.

    Args:
        out: file to write.
        keys: sub-datasets; empty = all.
        columns: images in a row.
        seed: of the phantoms.
        size: shorter side of a painted image, pixels.

    Raises:
        Sim4SegError: no such sub-dataset.
    """
    unknown = sorted(set(keys) - set(KEYS))
    if unknown:
        raise Sim4SegError(f"no such sub-dataset: {', '.join(unknown)}", remedy=f"use some of {', '.join(KEYS)}")
    sheet = contact_sheet(keys or KEYS, columns, seed, size)
    with atomic_file(out) as partial:
        sheet.save(partial, format="PNG")
