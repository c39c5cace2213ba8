"""Which of the usual machines a preset can be trained on at all: with one sample a GPU at once."""

from __future__ import annotations

from sim4seg.plan.budget import Machine, Run
from sim4seg.plan.static_memory import Sharding, precision_of, static_memory
from sim4seg.plan.step_cost import Cost, step_of_one, trained_on_meta

MACHINES = ((1, 24), (1, 40), (1, 80), (8, 24), (8, 80))
"""GPUs and GB of each."""
WAYS: dict[Sharding, str] = {"none": "", "zero2": "", "fsdp": " (FSDP2)"}


def fits_on(cost: Cost, run: Run) -> list[str]:
    """Machines in words, ``8 x 24``: one GPU holds everything, eight share by ZeRO 2 or else by FSDP2.

    Args:
        cost: of the preset, in any precision.
        run: decides whether activations are kept, and what frozen weights are held in.
    """
    activations = {way: _one(cost, run, way) for way in WAYS}
    fitting = []
    for gpus, memory in MACHINES:
        ways: tuple[Sharding, ...] = ("none",) if gpus == 1 else ("zero2", "fsdp")
        free = Machine(gpus, memory).free
        for way in ways:
            if static_memory(cost.counts, way, gpus, run.dtype).total + activations[way] <= free:
                fitting.append(f"{gpus} x {memory}{WAYS[way]}")
                break
    return fitting


def _one(cost: Cost, run: Run, way: Sharding) -> int:
    """Activations of one sample."""
    precision = precision_of(way, run.dtype)
    if precision == cost.precision:
        return (cost.checkpointed if run.checkpointing else cost.kept).one
    model = trained_on_meta(cost.preset, precision)
    return step_of_one(model, cost.lengths, precision, checkpointing=run.checkpointing).activations
