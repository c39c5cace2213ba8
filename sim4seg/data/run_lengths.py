"""COCO's run lengths (RLE) of a mask: alternating counts of background and lesion, down the columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LONGEST = 7
"""Characters of one compressed number: 35 bits hold any count of an image that could be decoded."""


def uncompressed(text: str) -> tuple[int, ...]:
    """The counts that COCO's compressed string stands for.

    Each character holds five bits (and one that says whether more follow), low ones first; from the fourth number on
    the string has the difference to the number two before it.

    Raises:
        ValueError: a character or an end that such a string cannot have.
    """
    counts: list[int] = []
    value = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits >= 5 * _LONGEST:
            raise ValueError(f"not a compressed run length: {text[:20]!r}")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError(f"a compressed run length is cut short: {text[-20:]!r}")
    return tuple(counts)


def check_counts(counts: Sequence[int], size: tuple[int, int]) -> None:
    """Say whether counts cover an image of ``size`` = (width, height) exactly; nothing is decoded.

    Raises:
        ValueError: a negative count, or counts of fewer or more pixels than the image has.
    """
    if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths cover {sum(counts)} px of an image of {size[0]}x{size[1]} px")


def decode_runs(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask, (H, W) bool, that ``counts`` describe for an image of ``size`` = (width, height).

    Raises:
        ValueError: the counts do not cover the image exactly. The caller bounds ``size``.
    """
    check_counts(counts, size)
    lesion = np.arange(len(counts)) % 2 == 1
    return np.repeat(lesion, np.asarray(counts, dtype=np.int64)).reshape(size).T
