"""Contact sheet: ``python -m sim4seg.data.phantoms OUT.png [--key busi]``, with the masks' outlines in green."""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sim4seg.data.phantoms.catalogue import KEYS, paint_case
from sim4seg.data.sample import PhantomCase

_TILE = 192


def _outlined(case: PhantomCase) -> Image.Image:
    image: NDArray[np.uint8] = case.image if case.image.ndim == 3 else np.repeat(case.image[..., None], 3, axis=2)
    image = image.copy()
    for structure in case.structures:
        mask = np.pad(structure.mask, 1)
        inner = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        image[structure.mask & ~inner] = (0, 255, 0)
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


def main() -> None:
    """Parse the command line and save the sheet."""
    parser = argparse.ArgumentParser(prog="python -m sim4seg.data.phantoms", description=__doc__)
    parser.add_argument("out", help="PNG to write")
    parser.add_argument("--key", choices=KEYS, help="one dataset only, with more cases")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    keys = (options.key,) if options.key else KEYS
    contact_sheet(keys, options.columns, options.seed, options.size).save(options.out)


if __name__ == "__main__":
    main()
