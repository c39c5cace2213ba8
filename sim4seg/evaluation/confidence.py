"""How sure the figures are: confidence intervals of their means over datasets."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim4seg.evaluation.bootstrap import percentile_interval, stratified_bootstrap
from sim4seg.evaluation.summary import DIGITS, FIGURES
from sim4seg.mask_iou import pooled_iou

RESAMPLES = 1000
SCORES = ["iou", "dice", "correct", "intersection", "union"]


def intervals(cases: pd.DataFrame, seed: int) -> dict[str, dict[str, float]]:
    """Confidence intervals (95 %) of the unweighted mean over datasets.

    Args:
        cases: as for :func:`sim4seg.evaluation.summary.summarise`, with all columns.
        seed: ``base.seed``.

    Returns:
        for giou, ciou, dice and acc: {"low", "high"}.
    """
    datasets = [rows[SCORES].to_numpy(np.float64).T for _, rows in cases.groupby("dataset", sort=True)]
    low, high = percentile_interval(stratified_bootstrap(datasets, _figures, seed, RESAMPLES))
    return {
        name: {"low": round(float(low[row]), DIGITS), "high": round(float(high[row]), DIGITS)}
        for row, name in enumerate(FIGURES)
    }


def _figures(sums: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(4, R) in the order of :data:`FIGURES`, from the sums (5, R) of :data:`SCORES` over ``count`` cases."""
    iou, dice, correct, intersection, union = sums
    return np.stack([iou / count, pooled_iou(intersection, union), dice / count, correct / count])
