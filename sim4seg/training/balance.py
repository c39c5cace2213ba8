"""How often each diagnosis and each case without a lesion is drawn: shares of a sub-dataset's cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sim4seg.config.balance import Balance

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, order=True)
class Cell:
    """Samples of one sub-dataset with one diagnosis, with a lesion or without."""

    dataset: str
    label: str
    empty: bool


def cell_shares(cells: Sequence[Cell], params: Balance) -> dict[Cell, float]:
    """Share of each cell among the samples drawn from its sub-dataset; those of a sub-dataset add up to 1.

    Cases with a lesion and cases without one are shared out apart: cases without get what they would have, but no more
    than ``negatives``; then each diagnosis of n cases weighs ``n ** (1 - labels)``. No sample is drawn more than
    ``repeats`` times as often as it would be without balancing. What a cell cannot take goes to the others of its kind,
    and only where all cases with a lesion are drawn that often, to cases without one.

    Args:
        cells: of each sample.
        params: section ``train.balance``.
    """
    counts = Counter(cells)
    shares: dict[Cell, float] = {}
    for dataset in sorted({cell.dataset for cell in counts}):
        shares |= _of_dataset({cell: n for cell, n in sorted(counts.items()) if cell.dataset == dataset}, params)
    return shares


def _of_dataset(counts: Mapping[Cell, int], params: Balance) -> dict[Cell, float]:
    total = sum(counts.values())
    weights = _label_weights(counts, params.labels)
    most = {cell: params.repeats * n / total for cell, n in counts.items()}
    kinds = {empty: [cell for cell in counts if cell.empty == empty] for empty in (False, True)}
    room = {empty: sum(most[cell] for cell in of) for empty, of in kinds.items()}
    natural = sum(weights[cell] for cell in kinds[True]) / sum(weights.values())
    # The most that may be empty; more where the rest has no room, less where there are not as many.
    empty = min(max(min(natural, params.negatives), 1 - room[False]), room[True])
    shares: dict[Cell, float] = {}
    for kind, share in ((False, 1 - empty), (True, empty)):
        shares |= _bounded({cell: weights[cell] for cell in kinds[kind]}, most, share)
    return shares


def _label_weights(counts: Mapping[Cell, int], labels: float) -> dict[Cell, float]:
    """Each diagnosis' weight, divided between its cases with and without a lesion as they occur."""
    of_label: Counter[str] = Counter()
    for cell, n in counts.items():
        of_label[cell.label] += n
    return {cell: of_label[cell.label] ** -labels * n for cell, n in counts.items()}


def _bounded(weights: Mapping[Key, float], most: Mapping[Key, float], total: float) -> dict[Key, float]:
    """``total`` shared out by weight, none above its bound; bounds together are at least ``total``."""
    shares: dict[Key, float] = {}
    while len(shares) < len(weights):
        free = {key: weight for key, weight in weights.items() if key not in shares}
        scale = max(0.0, total - sum(shares.values())) / sum(free.values())
        full = {key: most[key] for key, weight in free.items() if weight * scale > most[key]}
        shares |= full or {key: weight * scale for key, weight in free.items()}
    return shares
