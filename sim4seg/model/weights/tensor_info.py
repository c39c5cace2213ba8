"""What is known of a tensor in a file before it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
