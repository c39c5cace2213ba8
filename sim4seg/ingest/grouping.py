"""Which samples belong together, and the split that each group goes to."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim4seg.config.base import Base
from sim4seg.config.ingest import Ingest
from sim4seg.data.duplicates import Groups, near_pairs
from sim4seg.data.splits import SplitRow, assign_splits
from sim4seg.ingest.decode import Decoded


def grouped_rows(base: Base, params: Ingest, good: list[Decoded]) -> list[dict[str, Any]]:
    """Rows with group and split: near-duplicates and members of one group stay together."""
    rows = [one.row for one in good]
    groups = Groups(len(rows))
    first: dict[str, int] = {}
    for index, row in enumerate(rows):
        groups.join(index, first.setdefault(row.pop("own_group"), index))
    names = {index: name for name, index in first.items()}
    hashes = np.array([int(row["phash"], 16) for row in rows], dtype=np.uint64)
    thumbnails = np.stack([one.thumbnail for one in good if one.thumbnail is not None])
    for i, j in near_pairs(hashes, thumbnails, params.near_duplicate_bits):
        groups.join(i, j)
    for index, row in enumerate(rows):
        row["group"] = names[groups.find(index)]
    keys = [SplitRow(row["dataset"], row["group"], row["label"], row.pop("official")) for row in rows]
    for row, split in zip(rows, assign_splits(keys, params.splits, base.seed), strict=True):
        row["split"] = split
    return rows
