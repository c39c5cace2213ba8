"""Antialiased resizing of bytes against floats: how much quicker, and how far apart.

python benchmarks/resize.py
"""

from __future__ import annotations

import timeit

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE, REPEATS = (144, 192), 200


def resize(pixels: Tensor) -> Tensor:
    """(1, 3, H, W) to SIZE, dtype kept."""
    return F.interpolate(pixels, size=SIZE, mode="bilinear", align_corners=False, antialias=True)


def main() -> None:
    """Print the ratio of the times and the largest difference in grey levels."""
    torch.set_num_threads(2)
    photo = torch.randint(0, 256, (256, 340, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = photo.permute(2, 0, 1)[None]

    def by_bytes() -> Tensor:
        return resize(pixels).float()

    def by_floats() -> Tensor:
        return resize(pixels.float())

    quick, slow = (min(timeit.repeat(way, number=REPEATS, repeat=5)) for way in (by_bytes, by_floats))
    apart = float((by_bytes() - by_floats()).abs().max())
    print(f"floats take {slow / quick:.1f} times as long as bytes; they differ by at most {apart:.2f} of 255")


if __name__ == "__main__":
    main()
