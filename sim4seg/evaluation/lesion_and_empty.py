"""Figures that tell cases with a lesion and cases without one apart, and diagnoses by label.

A model that never marks anything scores 1 on every empty case, and one that always says the commonest diagnosis is
right as often as that diagnosis occurs. Neither shows in the means over all cases; both show here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sim4seg.evaluation.metrics import generalised_iou
from sim4seg.evaluation.summary import DIGITS, Figures, Table

FIGURES = ("giou_lesion", "dice_lesion", "false_positive_rate", "balanced_acc")


def balanced_accuracy(cases: pd.DataFrame) -> float:
    """Mean over the true labels of the share of their cases that were diagnosed right.

    As ``sklearn.metrics.balanced_accuracy_score``, from verdicts: an answer may use a synonym, or name no label at all.

    Args:
        cases: columns ``label`` and ``correct``; not empty.
    """
    return float(cases["correct"].astype(np.float64).groupby(cases["label"]).mean().mean())


def _one_dataset(cases: pd.DataFrame) -> Figures:
    """Whatever the columns and rows allow; a dataset without empty cases has no false-positive rate."""
    lesion = cases["lesion"].astype(bool)
    some, none = cases[lesion], cases[~lesion]
    figures: Figures = {"n_lesion": len(some), "n_empty": len(none)}
    if "iou" in cases and len(some):
        figures["giou_lesion"] = generalised_iou(some["iou"].tolist())
        figures["dice_lesion"] = float(some["dice"].mean())
    if "union" in cases and len(none):
        # Where nothing is to be found, the union is what was predicted.
        figures["false_positive_rate"] = float((none["union"] > 0).mean())
    if "correct" in cases:
        figures["balanced_acc"] = balanced_accuracy(cases)
    return figures


def lesion_and_empty(cases: pd.DataFrame) -> Table:
    """Figures of one mode, by dataset and under "mean", fractions 0 to 1 rounded to six digits.

    ``giou_lesion`` and ``dice_lesion`` are means over cases with a lesion; ``false_positive_rate`` is the share of
    cases without one in which any pixel was predicted; ``balanced_acc`` is :func:`balanced_accuracy`. ``n_lesion`` and
    ``n_empty`` count cases. The mean is over the datasets that have the figure, each counting the same.

    Args:
        cases: one row a case: ``dataset``, ``lesion`` (whether the true mask has any pixel), and ``iou, dice, union``
            and/or ``label, correct``; of one mode only, not empty. Rows of cases.parquet are such.
    """
    table = {str(dataset): _one_dataset(group) for dataset, group in cases.groupby("dataset", sort=True)}
    mean: Figures = {name: sum(int(row[name]) for row in table.values()) for name in ("n_lesion", "n_empty")}
    for name in FIGURES:
        values = [row[name] for row in table.values() if name in row]
        if values:
            mean[name] = float(np.mean(values))
    table["mean"] = mean
    return {key: {name: round(value, DIGITS) for name, value in row.items()} for key, row in table.items()}
