"""A preset's cost divided among the GPUs of a machine."""

from __future__ import annotations

from dataclasses import replace

from sim4seg.errors import ConfigError
from sim4seg.plan.budget import Budget, Machine, Run
from sim4seg.plan.plan_warnings import memory_warnings, other_warnings
from sim4seg.plan.static_memory import BYTES, static_memory
from sim4seg.plan.step_cost import SAVED, Cost


def make_budget(cost: Cost, machine: Machine, run: Run, evaluation: int | None = None) -> Budget:
    """Divide a cost among GPUs.

    Args:
        cost: in the precision of this launch (:func:`sim4seg.plan.static_memory.precision_of`).
        machine: to train on.
        run: to train.
        evaluation: bytes of :func:`sim4seg.plan.evaluation_memory.evaluation_bytes`.

    Raises:
        ConfigError: numbers that make no sense.
    """
    _check(machine, run)
    parts = static_memory(cost.counts, machine.sharding, machine.gpus, run.dtype)
    free = machine.free - parts.total
    kept, checkpointed = (mode.largest(free) for mode in (cost.kept, cost.checkpointed))
    operations = cost.operations(checkpointing=run.checkpointing)
    seconds = operations * run.seen / (machine.gpus * machine.tflops * 1e12 * machine.mfu)
    whole = BYTES[run.dtype] * cost.counts.frozen + 4 * cost.counts.learned
    budget = Budget(
        cost=cost,
        machine=machine,
        run=run,
        held=parts,
        one=parts.total + (cost.checkpointed if run.checkpointing else cost.kept).one,
        largest=checkpointed if run.checkpointing else kept,
        largest_kept=kept,
        largest_checkpointed=checkpointed,
        operations=operations,
        steps=run.steps,
        seen=run.seen,
        hours=seconds / 3600,
        loading=whole * min(machine.gpus, machine.node),
        written=SAVED * cost.parameters,
        cache=cost.cache_a_token * cost.lengths.total * run.paths,
        evaluation=evaluation,
        embeddings=cost.embedding * run.images,
        warnings=(),
    )
    return replace(budget, warnings=tuple(memory_warnings(budget) + other_warnings(budget)))


def _check(machine: Machine, run: Run) -> None:
    positive = (machine.gpus, machine.memory, machine.tflops, run.steps, run.seen, run.global_batch)
    if min(positive) <= 0 or not (0 < machine.mfu <= 1 and 0 <= machine.spare < 1):
        raise ConfigError(
            "gpus, memory, peak, samples, steps, epochs and batch must be above 0, mfu in (0, 1], spare in [0, 1)",
            where="sim4seg plan",
            remedy="see sim4seg plan --help",
        )
