"""How much better a model does than a control on the same cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim4seg.evaluation.bootstrap import percentile_interval, stratified_bootstrap
from sim4seg.evaluation.confidence import RESAMPLES
from sim4seg.evaluation.proof import DIAGNOSES, MASKS
from sim4seg.evaluation.summary import DIGITS

Gain = dict[str, float | int]
"""``n`` cases, ``gain`` of the model over the control, ``low`` and ``high`` of its 95 % interval; fractions."""
Gains = dict[str, dict[str, Gain]]
"""By dataset and "mean", then by figure."""


def gains(model: pd.DataFrame, control: pd.DataFrame, seed: int) -> Gains:
    """What the model is ahead of a control on the control's cases.

    ``giou_lesion`` is the mean difference of IoU over cases with a lesion; ``balanced_acc`` the difference in the mean
    over labels of the share that is diagnosed right, given where a dataset has more than one label. Cases are drawn
    anew within datasets and labels for the intervals; under "mean" each dataset counts the same.

    Args:
        model: one row a case, of mode ``single``: ``id, dataset, lesion, label, iou, correct``.
        control: the same columns of some or all of these cases; without ``iou`` or ``correct`` where it has none.
        seed: ``base.seed``.
    """
    both = control.merge(model, on=["id", "dataset", "label", "lesion"], suffixes=("_control", ""), validate="1:1")
    table: Gains = {}
    drawn: dict[str, list[tuple[float, NDArray[np.float64]]]] = {MASKS: [], DIAGNOSES: []}
    counts = {MASKS: 0, DIAGNOSES: 0}
    for dataset, cases in both.groupby("dataset", sort=True):
        row: dict[str, Gain] = {}
        for figure, strata in _strata(cases).items():
            mean = float(np.mean([np.mean(stratum) for stratum in strata]))
            resampled = stratified_bootstrap([s[None] for s in strata], lambda sums, n: sums / n, seed, RESAMPLES)
            drawn[figure].append((mean, resampled))
            count = sum(len(stratum) for stratum in strata)
            counts[figure] += count
            row[figure] = _gain(count, mean, resampled)
        table[str(dataset)] = row
    table["mean"] = {
        figure: _gain(counts[figure], float(np.mean([m for m, _ in of])), np.mean([r for _, r in of], axis=0))
        for figure, of in drawn.items()
        if of
    }
    return table


def _strata(cases: pd.DataFrame) -> dict[str, list[NDArray[np.float64]]]:
    """By figure, the differences that are drawn together."""
    strata: dict[str, list[NDArray[np.float64]]] = {}
    lesion = cases[cases["lesion"].astype(bool)]
    if "iou_control" in cases and len(lesion):
        strata[MASKS] = [(lesion["iou"] - lesion["iou_control"]).to_numpy(np.float64)]
    if "correct_control" in cases and cases["label"].nunique() > 1:
        difference = cases["correct"].astype(np.float64) - cases["correct_control"].astype(np.float64)
        labels, values = cases["label"].to_numpy(), difference.to_numpy(np.float64)
        strata[DIAGNOSES] = [values[labels == label] for label in sorted(set(labels))]
    return strata


def _gain(count: int, mean: float, resampled: NDArray[np.float64]) -> Gain:
    low, high = percentile_interval(resampled)
    ends = {"low": float(low[0]), "gain": mean, "high": float(high[0])}
    return {"n": count, **{name: round(value, DIGITS) for name, value in ends.items()}}
