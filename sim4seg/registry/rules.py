"""What a candidate must meet to become champion. Pure: figures in, failed rules out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim4seg.comparison.differences import FIGURES, Comparison
from sim4seg.config.register import Register
from sim4seg.errors import RegistryError
from sim4seg.evaluation.proof import CONTROL_TITLES, MUST_LOSE, unproven_sentences
from sim4seg.registry.tags import CHANGES, NONE

MODE = "single"
"""Scores without test-time scaling decide: they are what `predict` gives by default."""
GATES = ("gate_data", "gate_cot")
TINY = 1e-9
"""So that a drop by just the margin passes, whatever the last bit of a sum."""


def figure(metrics: Mapping[str, Any], *keys: str) -> float:
    """A figure of ``metrics.json``.

    Raises:
        RegistryError: it is not there.
    """
    value: Any = metrics
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RegistryError(
            f"the metrics lack the figure {'.'.join(keys)}",
            where="metrics.json",
            remedy="run `dvc repro evaluate` and register again",
        )
    return float(value)


def below_floors(params: Register, metrics: Mapping[str, Any]) -> list[str]:
    """Figures below ``register.floors``."""
    failed = []
    for key, title in FIGURES.items():
        value, floor = figure(metrics, MODE, "mean", key), float(getattr(params.floors, key))
        if value < floor:
            failed.append(f"mean {title} {value:.4f} is {floor - value:.4f} below the floor {floor:.4f}")
    return failed


def not_above_baselines(metrics: Mapping[str, Any]) -> list[str]:
    """Figures that do not beat what ignores the image: the centre prior and the majority label."""
    failed = []
    for key, baseline, title in (("giou", "centre_prior", "centre prior"), ("acc", "majority_label", "majority label")):
        value, other = figure(metrics, MODE, "mean", key), figure(metrics, "baselines", baseline, "mean", key)
        if value <= other:
            failed.append(
                f"mean {FIGURES[key]} {value:.4f} does not beat the {title}'s {other:.4f}: {other - value:.4f} short"
            )
    return failed


def not_shown_to_look(metrics: Mapping[str, Any]) -> list[str]:
    """Datasets in which the controls do not show that the model looks at the image.

    Figures without controls show nothing: ``evaluate.controls.cases`` was 0, or there were none yet.
    """
    controls = metrics.get("controls", {})
    lacking = [title for name, title in CONTROL_TITLES.items() if name in MUST_LOSE and name not in controls]
    if lacking:
        return [f"no control of {', '.join(lacking)}: set evaluate.controls.cases"]
    return unproven_sentences(controls)


def worse_than_champion(params: Register, comparison: Comparison) -> list[str]:
    """Mean figures whose interval of the difference to the champion reaches below minus ``register.margin``."""
    failed = []
    for key, title in FIGURES.items():
        change = comparison.mean[key]
        if change.low is not None and -change.low > params.margin + TINY:
            failed.append(
                f"mean {title} {change.candidate:.4f} against the champion's {change.champion:.4f}: the difference may "
                f"be as low as {change.low:+.4f}, {-change.low - params.margin:.4f} beyond the margin "
                f"{params.margin:.4f}"
            )
    return failed


def worse_in_a_subgroup(params: Register, comparison: Comparison) -> list[str]:
    """Subgroups of at least ``subgroup_min`` cases that are worse than the champion by over ``subgroup_margin``."""
    failed = []
    for group in comparison.groups:
        for key, title in FIGURES.items():
            change = group.figures[key]
            if group.n >= params.subgroup_min and -change.difference > params.subgroup_margin + TINY:
                failed.append(
                    f"{group.kind} {group.name} ({group.n} cases): {title} {change.candidate:.4f} is "
                    f"{-change.difference:.4f} below the champion's {change.champion:.4f}; "
                    f"the subgroup margin is {params.subgroup_margin:.4f}"
                )
    return failed


def commit_not_clean(params: Register, commit: str) -> list[str]:
    """A version that no commit tells the code of, where ``register.require_clean_commit`` asks for one."""
    if not params.require_clean_commit or (commit != NONE and not commit.endswith(CHANGES)):
        return []
    why = "it was made outside git" if commit == NONE else "tracked files differed from its commit"
    return [f"register.require_clean_commit: {why}"]


def gates_not_passed(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Gates whose report does not say success."""
    return [f"{gate} did not pass" for gate in GATES if reports.get(gate, {}).get("success") is not True]
