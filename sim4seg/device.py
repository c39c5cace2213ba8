"""Where a model runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def best_device() -> torch.device:
    """The first CUDA GPU that this process sees, else the CPU; ``CUDA_VISIBLE_DEVICES`` chooses among several."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Compute in the types that the tensors have, where they lie."""
    if not torch.amp.is_autocast_available(device.type):  # on `meta`, say, where shapes are counted
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
