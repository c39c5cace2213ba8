"""What a candidate must meet to become champion. Pure: figures in, failed rules out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim4seg.config import Register
from sim4seg.errors import RegistryError

MODE = "single"
"""Scores without test-time scaling decide: they are what `predict` gives by default."""
FIGURES = {"giou": "gIoU", "ciou": "cIoU", "acc": "Acc"}
GATES = ("gate_data", "gate_cot")


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


def worse_than_champion(params: Register, metrics: Mapping[str, Any], champion: Mapping[str, Any]) -> list[str]:
    """Figures that lie more than ``register.margin`` below the champion's on the same test data."""
    failed = []
    for key, title in FIGURES.items():
        value, other = figure(metrics, MODE, "mean", key), figure(champion, MODE, "mean", key)
        if other - value > params.margin + 1e-9:  # six-digit figures, so that a drop by just the margin passes
            failed.append(
                f"mean {title} {value:.4f} is {other - value:.4f} below the champion's {other:.4f}; "
                f"the margin is {params.margin:.4f}"
            )
    return failed


def gates_not_passed(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Gates whose report does not say success."""
    return [f"{gate} did not pass" for gate in GATES if reports.get(gate, {}).get("success") is not True]
