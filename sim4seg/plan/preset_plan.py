"""Plans of presets for one machine and one run."""

from __future__ import annotations

from collections.abc import Sequence

from sim4seg.model.presets import PRESETS
from sim4seg.plan.budget import Budget, Machine, Run
from sim4seg.plan.evaluation_memory import evaluation_bytes
from sim4seg.plan.make_budget import make_budget
from sim4seg.plan.static_memory import precision_of
from sim4seg.plan.step_cost import ANSWER_TOKENS, cost_of


def published_presets() -> list[str]:
    """Names of the presets that start from published weights."""
    return [name for name, preset in PRESETS.items() if preset.pretrained]


def plan_presets(presets: Sequence[str], machine: Machine, run: Run, answer: int = ANSWER_TOKENS) -> list[Budget]:
    """Count what each preset costs on the machine; some seconds each.

    Args:
        presets: names.
        machine: to train on.
        run: to train, and to evaluate.
        answer: tokens of an answer.

    Raises:
        ConfigError: no such preset, or numbers that make no sense.
    """
    costs = [cost_of(preset, precision_of(machine.sharding, run.dtype), answer=answer) for preset in presets]
    return [
        make_budget(cost, machine, run, evaluation_bytes(cost, run.evaluated, run.paths, run.perturbations))
        for cost in costs
    ]
