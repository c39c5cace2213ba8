"""From cases to figures: per dataset, their unweighted mean (as in the paper's table), and how sure they are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sim4seg.evaluation.metrics import cumulative_iou, generalised_iou

DIGITS = 6
FIGURES = ("giou", "ciou", "dice", "acc")

Figures = dict[str, float | int]
Table = dict[str, Figures]
"""Figures by dataset key, and under "mean"; fractions 0 to 1 rounded to six digits, and ``n`` cases."""


def _one_dataset(cases: pd.DataFrame) -> Figures:
    """Whatever the columns allow: mask figures need iou, dice, intersection and union; acc needs correct."""
    figures: Figures = {"n": len(cases)}
    if "iou" in cases:
        figures["giou"] = generalised_iou(cases["iou"].tolist())
        figures["ciou"] = cumulative_iou(cases["intersection"], cases["union"])
        figures["dice"] = float(cases["dice"].mean())
    if "correct" in cases:
        figures["acc"] = float(cases["correct"].astype(np.float64).mean())
    return figures


def summarise(cases: pd.DataFrame) -> Table:
    """Figures of one mode.

    Args:
        cases: one row a case: ``dataset`` and ``iou, dice, intersection, union`` and/or ``correct``; not empty.
    """
    table = {str(dataset): _one_dataset(group) for dataset, group in cases.groupby("dataset", sort=True)}
    mean: Figures = {"n": len(cases)}
    for name in FIGURES:
        values = [figures[name] for figures in table.values() if name in figures]
        if values:
            mean[name] = float(np.mean(values))
    table["mean"] = mean
    return {key: {name: round(value, DIGITS) for name, value in row.items()} for key, row in table.items()}
