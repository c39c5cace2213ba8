"""What a model must beat: a mask that ignores the image, and a label that ignores the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GRID = 64
LEVELS = 64


def to_grid(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask (H, W) bool as the covered share of each of 64x64 cells of the image, (64, 64) uint8, 255 = all."""
    image = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX))


@dataclass(frozen=True)
class CentrePrior:
    """The mean training mask, cut at one level.

    Attributes:
        cells: (64, 64) bool in normalised image coordinates, the predicted region.
        level: the share of training masks from which a cell is predicted, 0 to 1.
    """

    cells: NDArray[np.bool_]
    level: float

    def predict(self, height: int, width: int) -> NDArray[np.bool_]:
        """The prediction for an image of that size, (height, width) bool."""
        image = Image.fromarray(np.where(self.cells, 255, 0).astype(np.uint8))
        return np.asarray(image.resize((width, height), Image.Resampling.NEAREST)) > 127


def fit_centre_prior(grids: NDArray[np.uint8], datasets: Sequence[str]) -> CentrePrior:
    """Average the training masks and choose the level with the best gIoU on them.

    The IoU of a prediction made of whole cells with a mask given by covered shares is exact, so nothing is lost by
    working on 64x64 cells. Each dataset weighs the same, as in the reported mean.

    Args:
        grids: (N, 64, 64) uint8 from :func:`to_grid`, N >= 1.
        datasets: the N dataset keys.
    """
    prior = grids.mean(axis=0, dtype=np.float64) / 255
    levels = prior.max() * np.arange(1, LEVELS + 1) / LEVELS
    predictions = np.stack([prior >= level for level in levels]).reshape(LEVELS, -1).astype(np.float32)
    counts = Counter(datasets)
    giou = np.zeros(LEVELS)
    for dataset, grid in zip(datasets, grids, strict=True):
        shares = grid.reshape(-1).astype(np.float32) / 255
        intersection = predictions @ shares
        union = predictions.sum(axis=1) + shares.sum() - intersection
        giou += np.where(union > 0, intersection / np.maximum(union, 1e-9), 1.0) / counts[dataset]
    best = int(giou.argmax())
    return CentrePrior(cells=prior >= levels[best], level=float(levels[best]))


def fit_dataset_priors(grids: NDArray[np.uint8], datasets: Sequence[str]) -> dict[str, CentrePrior]:
    """:func:`fit_centre_prior` of each dataset by itself: its mean mask."""
    names = np.asarray(datasets)
    return {
        str(name): fit_centre_prior(grids[names == name], [str(name)] * int((names == name).sum()))
        for name in sorted(set(datasets))
    }


def majority_labels(datasets: Iterable[str], labels: Iterable[str]) -> dict[str, str]:
    """The most frequent training label of each dataset; of equally frequent ones the first in the alphabet."""
    counts: dict[str, Counter[str]] = {}
    for dataset, label in zip(datasets, labels, strict=True):
        counts.setdefault(dataset, Counter())[label] += 1
    return {name: min(count, key=lambda label: (-count[label], label)) for name, count in sorted(counts.items())}
