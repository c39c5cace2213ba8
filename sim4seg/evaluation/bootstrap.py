"""The bootstrap of figures that are means over datasets (Efron 1979): cases are drawn anew within each dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

COVERAGE = 0.95
BLOCK = 2_000_000
"""Drawn indices in memory at a time."""

Figures = Callable[[NDArray[np.float64], int], NDArray[np.float64]]
"""From sums (C, R) of C columns over n cases, and n, to F figures (F, R)."""


def stratified_bootstrap(
    datasets: Sequence[NDArray[np.float64]], figures: Figures, seed: int, resamples: int
) -> NDArray[np.float64]:
    """Figures of resampled cases, unweighted mean over datasets, (F, resamples).

    Stratified: each resample holds as many cases of a dataset as there are, so no dataset ever falls out of the mean.

    Args:
        datasets: (C, n) a dataset: C columns of its n cases. Whole numbers stay exact below 2^53.
        figures: what is computed of the sums of the columns.
        seed: of the draws; each dataset has a stream of its own, by its place.
        resamples: number of resamples.
    """
    return np.asarray(
        np.mean(
            [
                _resampled(columns, figures, np.random.default_rng([seed, index]), resamples)
                for index, columns in enumerate(datasets)
            ],
            axis=0,
        )
    )


def _resampled(
    columns: NDArray[np.float64], figures: Figures, rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """(F, resamples) of one dataset, in blocks, so that memory does not grow with the number of resamples."""
    count = columns.shape[1]
    rows = max(1, BLOCK // count)
    blocks = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, count, size=(min(rows, resamples - start), count))
        blocks.append(figures(np.stack([column[drawn].sum(axis=1) for column in columns]), count))
    return np.concatenate(blocks, axis=1)


def percentile_interval(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends (F,) of the interval that holds :data:`COVERAGE` of the resampled values (F, resamples)."""
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=1)
    return low, high
