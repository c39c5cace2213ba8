"""A budget in words, and budgets as a table for docs/scale.md."""

from __future__ import annotations

from collections.abc import Sequence

from sim4seg.plan.activation_memory import Activations
from sim4seg.plan.budget import Budget, Machine, Run
from sim4seg.plan.fitting_machines import fits_on
from sim4seg.plan.static_memory import GB

TERA = 1e12
LAUNCHES = {
    "none": "the whole model on each",
    "fsdp": "FSDP2",
    "zero1": "DeepSpeed ZeRO 1",
    "zero2": "DeepSpeed ZeRO 2",
    "zero3": "DeepSpeed ZeRO 3",
}


def _gb(number: float) -> str:
    return f"{number / GB:.1f} GB"


def _activations(mode: Activations) -> str:
    return ", ".join(f"{mode.of(samples) / GB:.2f} GB for {samples}" for samples in (1, 2, 8)) + " samples"


def _precision(machine: Machine, run: Run) -> str:
    if machine.sharding.startswith("zero"):
        return "the whole model in bfloat16, float32 copies of what is trained in the optimizer"
    return f"frozen weights {run.dtype}, trained ones float32, computed in bfloat16"


def _assumed(run: Run) -> str:
    """What decides steps, operations and hours."""
    mode = "with" if run.checkpointing else "without"
    epoch = f"{run.steps_per_epoch} steps" if run.samples is None else f"{run.samples} samples"
    return f"{run.epochs:g} epochs of {epoch}, {run.global_batch} samples a step, {mode} gradient checkpointing"


def describe(budget: Budget) -> str:
    """Lines of ``name  value``, then warnings."""
    lines = {**_work(budget), **_training_memory(budget), **_other_memory(budget)}
    text = [f"{name:18} {value}" for name, value in lines.items() if value]
    return "\n".join(text + [f"warning: {warning}" for warning in budget.warnings])


def _work(budget: Budget) -> dict[str, str]:
    cost, machine, run = budget.cost, budget.machine, budget.run
    rows, columns = cost.lengths.grid
    kept, again = (cost.operations(checkpointing=mode) / TERA for mode in (False, True))
    return {
        "preset": cost.preset,
        "machine": f"{machine.gpus} x {machine.memory:g} GB, {LAUNCHES[machine.sharding]}, {machine.spare:.0%} left "
        "spare",
        "run": _assumed(run),
        "sample": f"{rows} x {columns} image tokens + {cost.lengths.question} question + {cost.lengths.answer} answer",
        "parameters": f"{cost.parameters / 1e9:.3f} billion, of which trained {cost.trainable / 1e6:.1f} million",
        "precision": _precision(machine, run),
        "operations": f"{kept:.2f} TFLOP a sample (forward {cost.forward / TERA:.2f}, SAM's encoder "
        f"{cost.sam_encoder / TERA:.2f}), {again:.2f} with checkpointing",
        "operations a step": f"{budget.operations * run.global_batch / TERA:.0f} TFLOP for {run.global_batch} samples",
        "steps": f"{budget.steps} ({budget.seen:.0f} samples)",
        "time": f"{budget.hours:.1f} h of training steps at {machine.mfu:.0%} of {machine.tflops:g} TFLOP/s",
    }


def _training_memory(budget: Budget) -> dict[str, str]:
    held = budget.held
    return {
        "weights": f"{_gb(held.weights)} a GPU",
        "gradients": f"{_gb(held.gradients)} a GPU",
        "optimizer": f"{_gb(held.optimizer)} a GPU",
        "buffers": f"{_gb(held.buffers)} a GPU, for weights or gradients on their way" if held.buffers else "",
        "activations": _activations(budget.cost.kept),
        "  checkpointed": _activations(budget.cost.checkpointed),
        "one sample": f"{_gb(budget.one)} a GPU in all",
        "largest batch": f"{budget.largest_checkpointed} a GPU with checkpointing, {budget.largest_kept} without",
    }


def _other_memory(budget: Budget) -> dict[str, str]:
    machine, run = budget.machine, budget.run
    processes = min(machine.gpus, machine.node)
    several = f"in {processes} processes of a computer" if processes > 1 else "in one process"
    batch = f"{run.evaluated} images, {run.paths} answers and {run.paths * run.perturbations} masks each"
    return {
        "host memory": f"{_gb(budget.loading)} to load the model {several}, {_gb(budget.written)} to write it",
        "KV cache": f"{_gb(budget.cache)} for {run.paths} answers to an image, in float32",
        "evaluation": f"{_gb(budget.evaluation)} for a batch of {batch}, in float32" if budget.evaluation else "",
        "SAM embeddings": f"{_gb(budget.embeddings)} on disk for {run.images} images",
    }


HEAD = (
    "preset",
    "parameters",
    "trained",
    "TFLOP a sample, kept / checkpointed",
    "TFLOP a step",
    "weights + gradients + optimizer + buffers, GB",
    "activations of 1 sample, kept / checkpointed, GB",
    "memory with 1 sample, GB",
    "largest batch, kept / checkpointed",
    "hours",
    "fits on",
)


def table(budgets: Sequence[Budget]) -> str:
    """Markdown: a row a preset, in the last column the machines of :func:`sim4seg.plan.fitting_machines.fits_on`.

    Args:
        budgets: for one machine and run.
    """
    head, *rows = (f"| {' | '.join(cells)} |" for cells in (HEAD, *map(_row, budgets)))
    return "\n".join([head, "|" + "---|" * len(HEAD), *rows])


def _row(budget: Budget) -> tuple[str, ...]:
    cost, held = budget.cost, budget.held
    kept, again = (cost.operations(checkpointing=mode) / TERA for mode in (False, True))
    parts = (held.weights, held.gradients, held.optimizer, held.buffers)
    return (
        f"`{cost.preset}`",
        f"{cost.parameters / 1e9:.3f} B",
        f"{cost.trainable / 1e6:.1f} M",
        f"{kept:.2f} / {again:.2f}",
        f"{budget.operations * budget.run.global_batch / TERA:.0f}",
        " + ".join(f"{part / GB:.1f}" for part in parts),
        f"{cost.kept.one / GB:.2f} / {cost.checkpointed.one / GB:.2f}",
        f"{budget.one / GB:.1f}",
        f"{budget.largest_kept} / {budget.largest_checkpointed}",
        f"{budget.hours:.1f}",
        ", ".join(fits_on(cost, budget.run)) or "none of them",
    )
