"""Differences of two models' figures on paired cases: over all, with a bootstrap interval, and in each subgroup."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim4seg.comparison.paired_cases import CANDIDATE, CHAMPION, GROUPS
from sim4seg.evaluation.bootstrap import percentile_interval, stratified_bootstrap
from sim4seg.mask_iou import pooled_iou

FIGURES = {"giou": "gIoU", "ciou": "cIoU", "acc": "Acc"}
RESAMPLES = 2000
SEED = 0
"""Of the resamples: a constant, so that a comparison depends on the cases alone."""
DIGITS = 6


@dataclass(frozen=True)
class FigureDifference:
    """A figure of both models.

    Attributes:
        candidate, champion: fractions 0 to 1.
        difference: candidate minus champion.
        low, high: ends of the interval of the difference (95 %); None where none is computed.
    """

    candidate: float
    champion: float
    difference: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """The figures of one dataset, modality or label, over its cases together.

    Attributes:
        kind: one of :data:`sim4seg.comparison.paired_cases.GROUPS`.
        name: of the group.
        n: cases in it.
        figures: by the keys of :data:`FIGURES`.
    """

    kind: str
    name: str
    n: int
    figures: dict[str, FigureDifference]


@dataclass(frozen=True)
class Comparison:
    """Two models on the same cases.

    Attributes:
        n: cases.
        mean: unweighted means over datasets, as reported everywhere, with intervals; by the keys of :data:`FIGURES`.
        groups: every subgroup, sorted by kind and name.
    """

    n: int
    mean: dict[str, FigureDifference]
    groups: tuple[Group, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, fractions rounded to six digits."""
        return _rounded(asdict(self))  # type: ignore[no-any-return]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS) + 0.0  # no -0.0
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def _arrays(rows: pd.DataFrame, model: str) -> NDArray[np.float64]:
    """(4, n): iou, intersection, union, correct of one model. Pixel sums stay below 2^53, so doubles hold them."""
    columns = [f"{name}{model}" for name in ("iou", "intersection", "union", "correct")]
    return rows[columns].to_numpy(np.float64).T


def _figures(sums: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(3, ...): gIoU, cIoU, Acc from sums (4, ...) over ``count`` cases."""
    iou, intersection, union, correct = sums
    return np.stack([iou / count, pooled_iou(intersection, union), correct / count])


def _figure_differences(sums: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(3, R): candidate's figures minus the champion's, from sums (8, R), the candidate's four first."""
    return _figures(sums[:4], count) - _figures(sums[4:], count)


def _point(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3,) figures of candidate and champion over the rows together."""
    first, second = (_figures(_arrays(rows, model).sum(axis=1), len(rows)) for model in (CANDIDATE, CHAMPION))
    return first, second


def _groups(pairs: pd.DataFrame) -> Iterator[Group]:
    for kind in GROUPS:
        for name, rows in pairs.groupby(kind, sort=True):
            first, second = _point(rows)
            figures = {
                key: FigureDifference(float(a), float(b), float(a - b))
                for key, a, b in zip(FIGURES, first, second, strict=True)
            }
            yield Group(kind, str(name), len(rows), figures)


def compare(pairs: pd.DataFrame) -> Comparison:
    """Compare two models on paired cases.

    The interval is a percentile bootstrap (Efron 1979) of the difference of the means over datasets: cases are drawn
    with replacement within each dataset, for both models the same ones, so that what makes a case hard cancels out.

    Args:
        pairs: what :func:`sim4seg.comparison.paired_cases.pair` returns; not empty.
    """
    datasets = [rows for _, rows in pairs.groupby("dataset", sort=True)]
    candidate, champion = np.mean([np.stack(_point(rows)) for rows in datasets], axis=0)
    both = [np.concatenate([_arrays(rows, CANDIDATE), _arrays(rows, CHAMPION)]) for rows in datasets]
    low, high = percentile_interval(stratified_bootstrap(both, _figure_differences, SEED, RESAMPLES))
    mean = {
        key: FigureDifference(
            float(candidate[i]), float(champion[i]), float(candidate[i] - champion[i]), float(low[i]), float(high[i])
        )
        for i, key in enumerate(FIGURES)
    }
    return Comparison(len(pairs), mean, tuple(_groups(pairs)))
