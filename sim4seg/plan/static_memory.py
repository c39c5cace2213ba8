"""What a GPU holds before the first sample: weights, gradients, optimizer and buffers, by how training is launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["bfloat16", "float32"]
Sharding = Literal["none", "fsdp", "zero1", "zero2", "zero3"]
BYTES: dict[Dtype, int] = {"bfloat16": 2, "float32": 4}
GB = 10**9
REDUCE_BUCKET = 500_000_000
"""Numbers in a bucket of gradients, as infra/train/zero2.json and zero3.json have it; allocated whatever there is to
put into it."""
MOST_GATHERED = 1_000_000_000
"""Weights that ZeRO 3 keeps together at once; DeepSpeed's own, our zero3.json leaves it."""
MOMENTS, COPY = 8, 4
"""Bytes a trained number: AdamW's two moments in float32, and DeepSpeed's float32 copy of a weight."""


@dataclass(frozen=True)
class Precision:
    """In what a step is computed.

    Attributes:
        frozen, trained: of weights where the layers meet them.
        autocast: whether autocast to bfloat16 is on besides.
    """

    frozen: Dtype
    trained: Dtype
    autocast: bool


@dataclass(frozen=True)
class Counts:
    """Numbers of a model's weights, adapters among them.

    Attributes:
        frozen, learned: without and with gradients; where only a row is trained, its whole matrix has them.
        layer: of the largest layer, which FSDP gathers as one.
        outside: of what is in no layer, which FSDP gathers for the whole step.
    """

    frozen: int
    learned: int
    layer: int
    outside: int

    @property
    def total(self) -> int:
        """All."""
        return self.frozen + self.learned


@dataclass(frozen=True)
class StaticMemory:
    """Bytes a GPU.

    Attributes:
        weights, gradients, optimizer: this GPU's share.
        buffers: what the engine gathers weights or gradients in.
    """

    weights: int
    gradients: int
    optimizer: int
    buffers: int

    @property
    def total(self) -> int:
        """Before the first sample."""
        return self.weights + self.gradients + self.optimizer + self.buffers


def precision_of(sharding: Sharding, dtype: Dtype) -> Precision:
    """What a launch computes in.

    Args:
        sharding: DeepSpeed (``zero*``) makes the whole model bfloat16; FSDP gathers in bfloat16 what it shards.
        dtype: ``train.weights.dtype``, in which frozen weights are held otherwise.
    """
    if sharding in ("none", "fsdp"):
        whole = sharding == "none"
        return Precision(dtype if whole else "bfloat16", "float32" if whole else "bfloat16", autocast=True)
    return Precision("bfloat16", "bfloat16", autocast=False)


def static_memory(counts: Counts, sharding: Sharding, gpus: int, dtype: Dtype) -> StaticMemory:
    """What one of ``gpus`` holds; arguments as for :func:`precision_of`."""
    if sharding in ("none", "fsdp"):
        return _held_by_pytorch(counts, sharding, gpus, dtype)
    stage = int(sharding[-1])
    weights, gradients, optimizer = (
        -(-number // (gpus if stage >= least else 1))
        for number, least in ((2 * counts.total, 3), (2 * counts.learned, 2), ((COPY + MOMENTS) * counts.learned, 1))
    )
    # Stages 1 and 2 fill one bucket while the other is on its way (overlap_comm).
    buffers = 2 * REDUCE_BUCKET + 2 * (min(MOST_GATHERED, counts.total) if stage == 3 else REDUCE_BUCKET)
    return StaticMemory(weights, gradients, optimizer, buffers)


def _held_by_pytorch(counts: Counts, sharding: Sharding, gpus: int, dtype: Dtype) -> StaticMemory:
    """Trained weights, their gradients and moments are float32 here."""
    share, buffers = 1, 0
    if sharding == "fsdp":
        share = gpus
        buffers = 2 * (2 * counts.layer + counts.outside)  # bfloat16; the next layer comes while one is at work
    elif gpus > 1:
        buffers = 4 * counts.learned  # data parallel's buckets of gradients
    return StaticMemory(
        weights=-(-(BYTES[dtype] * counts.frozen + 4 * counts.learned) // share),
        gradients=-(-4 * counts.learned // share),
        optimizer=-(-MOMENTS * counts.learned // share),
        buffers=buffers,
    )
