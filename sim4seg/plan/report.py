"""A budget in words, and budgets as a table for docs/scale.md."""

from __future__ import annotations

from collections.abc import Sequence

from sim4seg.plan.budget import GB, Budget
from sim4seg.plan.cost import Activations


def _gb(number: float) -> str:
    return f"{number / GB:.1f} GB"


def _activations(mode: Activations) -> str:
    return f"{mode.fixed / GB:.2f} + {mode.each / GB:.2f} GB a sample"


def describe(budget: Budget) -> str:
    """Lines of ``name  value``, then warnings."""
    cost, machine, run = budget.cost, budget.machine, budget.run
    rows, columns = cost.lengths.grid
    operations = cost.forward + cost.backward
    lines = {
        "preset": cost.preset,
        "machine": f"{machine.gpus} GPUs of {machine.memory:g} GB, {machine.sharding}, {machine.spare:.0%} left spare",
        "sample": f"{rows} x {columns} image tokens + {cost.lengths.question} question + {cost.lengths.answer} answer",
        "parameters": f"{cost.parameters / 1e9:.3f} billion, of which trained {cost.trainable / 1e6:.1f} million",
        "operations": f"{operations / 1e12:.2f} TFLOP a sample (forward {cost.forward / 1e12:.2f}, SAM's encoder "
        f"{cost.sam_encoder / 1e12:.2f}); checkpointing adds {cost.recomputed / 1e12:.2f}",
        "operations a step": f"{operations * run.global_batch / 1e12:.0f} TFLOP for {run.global_batch} samples",
        "weights": f"{_gb(budget.weights)} a GPU",
        "gradients": f"{_gb(budget.gradients)} a GPU",
        "optimizer": f"{_gb(budget.optimizer)} a GPU",
        "activations": _activations(cost.kept),
        "  checkpointed": _activations(cost.checkpointed),
        "KV cache": f"{_gb(budget.cache)} for {run.paths} answers to an image, when generating",
        "largest batch": f"{budget.largest} a GPU, {budget.largest_checkpointed} with checkpointing",
        "steps": f"{budget.steps} ({run.samples} samples, {run.epochs:g} epochs)",
        "time": f"{budget.hours:.1f} h at {machine.mfu:.0%} of {machine.tflops:g} TFLOP/s"
        + (", with checkpointing" if budget.checkpointing else ""),
        "SAM embeddings": f"{_gb(budget.embeddings)} on disk for {run.images} images",
    }
    text = [f"{name:18} {value}" for name, value in lines.items()]
    return "\n".join(text + [f"warning: {warning}" for warning in budget.warnings])


def table(budgets: Sequence[Budget]) -> str:
    """Markdown: a row a preset."""
    first = budgets[0].machine
    head = (
        "| preset | parameters | trained | TFLOP a sample | weights | gradients | optimizer | activations a sample, "
        f"kept / checkpointed | largest batch | hours | fits {first.gpus} x {first.memory:g} GB |"
    )
    rows = [
        f"| `{b.cost.preset}` | {b.cost.parameters / 1e9:.3f} B | {b.cost.trainable / 1e6:.1f} M "
        f"| {(b.cost.forward + b.cost.backward) / 1e12:.2f} | {_gb(b.weights)} | {_gb(b.gradients)} "
        f"| {_gb(b.optimizer)} | {b.cost.kept.each / GB:.2f} / {b.cost.checkpointed.each / GB:.2f} GB "
        f"| {b.largest} / {b.largest_checkpointed} | {b.hours:.1f} "
        f"| {'yes' if b.largest else 'checkpointed' if b.largest_checkpointed else 'no'} |"
        for b in budgets
    ]
    return "\n".join([head, "|" + "---|" * 11, *rows])
