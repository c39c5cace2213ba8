"""Seeded percentile bootstrap of the mean figures (Efron 1979), resampling cases within each dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sim4seg.evaluation.summary import DIGITS, FIGURES

RESAMPLES = 1000
COVERAGE = 0.95


def intervals(cases: pd.DataFrame, seed: int) -> dict[str, dict[str, float]]:
    """Confidence intervals (95 %) of the unweighted mean over datasets.

    Stratified: each resample holds as many cases of a dataset as there are, so no dataset ever falls out of the mean.

    Args:
        cases: as for :func:`sim4seg.evaluation.summary.summarise`, with all columns.
        seed: ``base.seed``.

    Returns:
        for giou, ciou, dice and acc: {"low", "high"}.
    """
    per_dataset = []
    for index, (_, group) in enumerate(cases.groupby("dataset", sort=True)):
        rng = np.random.default_rng([seed, index])
        rows = rng.integers(0, len(group), size=(RESAMPLES, len(group)))
        iou, dice, correct = (
            group[name].to_numpy(np.float64)[rows].mean(axis=1) for name in ("iou", "dice", "correct")
        )
        intersection, union = (group[name].to_numpy(np.int64)[rows].sum(axis=1) for name in ("intersection", "union"))
        ciou = np.where(union > 0, intersection / np.maximum(union, 1), 1.0)
        per_dataset.append(np.stack([iou, ciou, dice, correct]))
    means = np.mean(per_dataset, axis=0)
    tails = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [tails, 1 - tails], axis=1)
    return {
        name: {"low": round(float(low[row]), DIGITS), "high": round(float(high[row]), DIGITS)}
        for row, name in enumerate(FIGURES)
    }
