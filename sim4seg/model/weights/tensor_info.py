"""What is known of a tensor in a file before it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in a file.

    Attributes:
        shape, dtype: as stored.
        file: name of the file that holds it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: str

    @property
    def nbytes(self) -> int:
        """Size of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


def widest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """The element type that holds numbers of all floating ones without loss; float32 where there are none."""
    floating = [dtype for dtype in dtypes if dtype.is_floating_point]
    return reduce(torch.promote_types, floating) if floating else torch.float32
