"""What a plan is made for, a machine and a run, and what it says: memory by part, largest batch, hours, disk."""

from __future__ import annotations

from dataclasses import dataclass

from sim4seg.plan.static_memory import GB, Dtype, Sharding, StaticMemory
from sim4seg.plan.step_cost import Cost


@dataclass(frozen=True)
class Machine:
    """What is trained on.

    Attributes:
        gpus: number.
        memory: GB (10^9 bytes) of one.
        tflops: bfloat16 peak of one, 10^12 operations a second.
        mfu: share of the peak that is reached (model FLOPs utilisation).
        sharding: what is divided among the GPUs, and by whom: nothing (one GPU, or data parallel); everything by
            FSDP2; by DeepSpeed optimizer states (``zero1``), gradients too (``zero2``), weights too (``zero3``).
        spare: share of the memory that is left alone, for the CUDA context and fragments.
        node: GPUs, at most, of one computer.
    """

    gpus: int
    memory: float
    tflops: float = 312.0
    mfu: float = 0.35
    sharding: Sharding = "zero2"
    spare: float = 0.1
    node: int = 8

    @property
    def free(self) -> float:
        """Bytes of a GPU that may be used."""
        return self.memory * GB * (1 - self.spare)


@dataclass(frozen=True)
class Run:
    """What is to be trained; as it stands, the paper's run, which infra/train/params/8gpu.yaml has.

    Attributes:
        steps_per_epoch: optimizer steps that are called an epoch.
        epochs: of them, or passes over ``samples``.
        global_batch: samples an optimizer step, over all GPUs.
        samples: training samples, where an epoch is a pass over them; None = it is ``steps_per_epoch`` steps.
        checkpointing: compute activations again on the way back (``train.gradient_checkpointing``).
        dtype: of frozen weights outside DeepSpeed (``train.weights.dtype``).
        paths, perturbations: of test-time scaling, when evaluating.
        evaluated: images that are evaluated at once.
        images: images whose SAM embeddings would be stored.
    """

    steps_per_epoch: int = 1000
    epochs: float = 4
    global_batch: int = 160
    samples: int | None = None
    checkpointing: bool = True
    dtype: Dtype = "bfloat16"
    paths: int = 2
    perturbations: int = 2
    evaluated: int = 4
    images: int = 16_148

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        if self.samples is None:
            return round(self.steps_per_epoch * self.epochs)
        return -(-int(self.samples * self.epochs) // self.global_batch)

    @property
    def seen(self) -> float:
        """Samples that go through the model."""
        return self.steps * self.global_batch if self.samples is None else self.samples * self.epochs


@dataclass(frozen=True)
class Budget:
    """A plan.

    Attributes:
        cost, machine, run: what it is for.
        held: bytes a GPU before the first sample.
        one: bytes a GPU with one sample.
        largest: samples a GPU that fit; 0 = not even one.
        largest_kept, largest_checkpointed: the same without and with checkpointing.
        operations: floating point operations of a sample, as the run is set.
        steps, seen: optimizer steps, and samples that go through the model.
        hours: of training steps.
        loading: bytes of a computer's memory while its processes load the model.
        written: bytes of the trained model, which one process puts together in its computer's memory.
        cache: bytes of keys and values for one image's answers.
        evaluation: bytes of a GPU when evaluating; None = not counted.
        embeddings: bytes on disk.
        warnings: in words.
    """

    cost: Cost
    machine: Machine
    run: Run
    held: StaticMemory
    one: int
    largest: int
    largest_kept: int
    largest_checkpointed: int
    operations: int
    steps: int
    seen: float
    hours: float
    loading: int
    written: int
    cache: int
    evaluation: int | None
    embeddings: int
    warnings: tuple[str, ...]
