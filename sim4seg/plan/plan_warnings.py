"""What speaks against a plan, and what to do about it."""

from __future__ import annotations

from sim4seg.plan.budget import Budget
from sim4seg.plan.static_memory import GB


def memory_warnings(budget: Budget) -> list[str]:
    """What does not fit into a GPU."""
    warnings = []
    machine, static, free = budget.machine, budget.held, budget.machine.free
    size = f"{machine.memory:g} GB, of which {machine.spare:.0%} are left spare"
    if static.total > free:
        warnings.append(
            f"{static.weights / GB:.1f} GB of weights, {static.gradients / GB:.1f} of gradients, "
            f"{static.optimizer / GB:.1f} of optimizer and {static.buffers / GB:.1f} of buffers do not fit into "
            f"{size}: {_remedy(budget)}"
        )
    elif not budget.largest and budget.largest_checkpointed:
        warnings.append("one sample fits only with gradient checkpointing (--checkpointing)")
    elif not budget.largest:
        warnings.append(
            f"not one sample fits, which takes {budget.one / GB:.1f} GB, into {size}: {_remedy(budget)}, "
            "or store SAM's embeddings"
        )
    if budget.evaluation is not None and budget.evaluation > free:
        fewer = "evaluate fewer at once (evaluate.batch_size), or " if budget.written < free else ""
        warnings.append(
            f"evaluating {budget.run.evaluated} images at once takes {budget.evaluation / GB:.1f} GB and does not fit "
            f"into {size}: {fewer}evaluate on a larger GPU"
        )
    return warnings


def _remedy(budget: Budget) -> str:
    if budget.machine.sharding == "none" and budget.run.dtype == "float32":
        return "hold frozen weights in bfloat16 (--dtype bfloat16)"
    if budget.machine.sharding not in ("fsdp", "zero3"):
        return "shard the weights too, over several GPUs (--sharding fsdp)"
    return "use more or larger GPUs"


def other_warnings(budget: Budget) -> list[str]:
    """What costs more than it need."""
    warnings = []
    gpus, batch, cost = budget.machine.gpus, budget.run.global_batch, budget.cost
    if budget.largest and batch > budget.largest * gpus:
        passes = -(-batch // (budget.largest * gpus))
        warnings.append(f"a step of {batch} samples needs {passes} accumulated batches")
    if gpus > batch:
        warnings.append(f"{gpus} GPUs share {batch} samples a step: some have none")
    if 3 * cost.sam_encoder > cost.forward + cost.backward:
        share = cost.sam_encoder / (cost.forward + cost.backward)
        warnings.append(f"SAM's frozen encoder is {share:.0%} of a step: store its embeddings once")
    return warnings
