"""Perceptual hashes and the groups of near-duplicate images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

MIN_CORRELATION = 0.98
"""Hashes of smooth pictures collide; only those whose 16x16 thumbnails agree this well are near-duplicates."""
_BLOCK = 2048


def perceptual_hash(image: NDArray[np.uint8]) -> tuple[int, NDArray[np.float32]]:
    """64-bit pHash (signs of the low 8x8 DCT coefficients of a 32x32 grey reduction against their median).

    Args:
        image: (H, W) or (H, W, 3) uint8.

    Returns:
        the hash, and a (256,) thumbnail of zero mean and unit length (zeros for a flat image).
    """
    grey = Image.fromarray(image).convert("L")
    small = np.asarray(grey.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    low = dctn(small, norm="ortho")[:8, :8]
    bits = (low > np.median(low)).ravel()
    value = int.from_bytes(np.packbits(bits).tobytes(), "big")
    thumbnail = np.asarray(grey.resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel()
    thumbnail -= thumbnail.mean()
    length = float(np.linalg.norm(thumbnail))
    return value, thumbnail / length if length > 0 else thumbnail


def near_pairs(hashes: NDArray[np.uint64], thumbnails: NDArray[np.float32], bits: int) -> Iterator[tuple[int, int]]:
    """Pairs (i < j) of near-duplicates: at most ``bits`` differing bits and agreeing thumbnails.

    Compared block by block, so memory does not grow with the number of pairs; 100,000 images take minutes.
    """
    for start in range(0, len(hashes), _BLOCK):
        rows = hashes[start : start + _BLOCK]
        for other in range(start, len(hashes), _BLOCK):
            columns = hashes[other : other + _BLOCK]
            close = np.bitwise_count(rows[:, None] ^ columns[None, :]) <= bits
            for i, j in np.argwhere(close):
                first, second = start + int(i), other + int(j)
                if first < second and float(thumbnails[first] @ thumbnails[second]) > MIN_CORRELATION:
                    yield first, second


class Groups:
    """Union-find over indices; a group's representative is its smallest member."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, index: int) -> int:
        """Representative of the group of ``index``."""
        while self.parent[index] != index:
            self.parent[index] = self.parent[self.parent[index]]
            index = self.parent[index]
        return index

    def join(self, first: int, second: int) -> None:
        """Make two groups one."""
        low, high = sorted((self.find(first), self.find(second)))
        self.parent[high] = low
