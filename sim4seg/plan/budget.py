"""A preset's cost on a machine: memory of a GPU by part, the largest batch, steps, hours, disk, and what won't fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim4seg.errors import ConfigError
from sim4seg.plan.cost import Activations, Cost

GB = 10**9
WEIGHT, GRADIENT, OPTIMIZER = 2, 2, 12
"""Bytes a parameter: bfloat16, bfloat16, and AdamW's two moments and a master copy in float32."""
Sharding = Literal["none", "zero1", "zero2", "zero3"]


@dataclass(frozen=True)
class Machine:
    """What is trained on.

    Attributes:
        gpus: number.
        memory: GB (10^9 bytes) of one.
        tflops: bfloat16 peak of one, 10^12 operations a second.
        mfu: share of the peak that is reached (model FLOPs utilisation).
        sharding: what is divided among the GPUs: nothing, optimizer states, gradients too, weights too (FSDP's full
            sharding is ``zero3``).
        spare: share of the memory that is left alone, for the CUDA context, buckets and fragments.
    """

    gpus: int
    memory: float
    tflops: float = 312.0
    mfu: float = 0.35
    sharding: Sharding = "zero2"
    spare: float = 0.1


@dataclass(frozen=True)
class Run:
    """What is to be trained.

    Attributes:
        samples: training samples.
        epochs: passes over them.
        global_batch: samples an optimizer step.
        paths: answers written at once for an image (test-time scaling).
        images: images whose SAM embeddings would be stored.
    """

    samples: int = 12_000
    epochs: float = 4
    global_batch: int = 160
    paths: int = 2
    images: int = 16_148


@dataclass(frozen=True)
class Budget:
    """A plan.

    Attributes:
        cost, machine, run: what it is for.
        weights, gradients, optimizer: bytes a GPU.
        cache: bytes of keys and values for one image's answers, when generating.
        largest, largest_checkpointed: samples a GPU that fit; 0 = not even one.
        checkpointing: whether a batch of one needs it.
        steps: optimizer steps.
        hours: with the chosen mode.
        embeddings: bytes on disk.
        warnings: in words.
    """

    cost: Cost
    machine: Machine
    run: Run
    weights: int
    gradients: int
    optimizer: int
    cache: int
    largest: int
    largest_checkpointed: int
    checkpointing: bool
    steps: int
    hours: float
    embeddings: int
    warnings: tuple[str, ...]

    @property
    def fixed(self) -> int:
        """Bytes a GPU before the first sample."""
        return self.weights + self.gradients + self.optimizer


def make_budget(cost: Cost, machine: Machine, run: Run) -> Budget:
    """Divide a cost among GPUs.

    Raises:
        ConfigError: numbers that make no sense.
    """
    if min(machine.gpus, machine.memory, machine.tflops, run.samples, run.epochs, run.global_batch) <= 0 or not (
        0 < machine.mfu <= 1 and 0 <= machine.spare < 1
    ):
        raise ConfigError(
            "gpus, memory, peak, samples, epochs and batch must be above 0, mfu in (0, 1], spare in [0, 1)",
            where="sim4seg plan",
            remedy="see sim4seg plan --help",
        )
    stage = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3}[machine.sharding]
    weights, gradients, optimizer = (
        -(-number // (machine.gpus if stage >= least else 1))
        for number, least in (
            (WEIGHT * cost.parameters, 3),
            (GRADIENT * cost.trainable, 2),
            (OPTIMIZER * cost.trainable, 1),
        )
    )
    free = machine.memory * GB * (1 - machine.spare) - weights - gradients - optimizer
    largest, largest_checkpointed = (_largest(free, mode) for mode in (cost.kept, cost.checkpointed))
    checkpointing = largest < 1  # more samples than fit are a matter of accumulation, which costs no operations
    operations = cost.forward + cost.backward + (cost.recomputed if checkpointing else 0)
    seconds = operations * run.samples * run.epochs / (machine.gpus * machine.tflops * 1e12 * machine.mfu)
    return Budget(
        cost=cost,
        machine=machine,
        run=run,
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        cache=cost.cache_a_token * cost.lengths.total * run.paths,
        largest=largest,
        largest_checkpointed=largest_checkpointed,
        checkpointing=checkpointing,
        steps=-(-int(run.samples * run.epochs) // run.global_batch),
        hours=seconds / 3600,
        embeddings=cost.embedding * run.images,
        warnings=_warnings(cost, machine, run, free, largest, largest_checkpointed, stage),
    )


def _largest(free: float, activations: Activations) -> int:
    return max(0, int((free - activations.fixed) // max(1, activations.each)))


def _warnings(
    cost: Cost, machine: Machine, run: Run, free: float, largest: int, checkpointed: int, stage: int
) -> tuple[str, ...]:
    found = []
    if free <= 0:
        further = "shard the weights too (--sharding zero3)" if stage < 3 else "use more or larger GPUs"
        found.append(f"weights, gradients and optimizer alone exceed a GPU's memory: {further}")
    elif checkpointed < 1:
        found.append("not one sample fits, even with checkpointing: use larger GPUs, or store SAM's embeddings")
    elif largest < 1:
        found.append("one sample fits only with gradient checkpointing")
    fits = max(largest, checkpointed)
    if fits and run.global_batch > fits * machine.gpus:
        steps = -(-run.global_batch // (fits * machine.gpus))
        found.append(f"a step of {run.global_batch} samples needs {steps} accumulated batches")
    if machine.gpus > run.global_batch:
        found.append(f"{machine.gpus} GPUs share {run.global_batch} samples a step: some have none")
    if 3 * cost.sam_encoder > cost.forward + cost.backward:
        share = cost.sam_encoder / (cost.forward + cost.backward)
        found.append(f"SAM's frozen encoder is {share:.0%} of a step: store its embeddings once")
    return tuple(found)
