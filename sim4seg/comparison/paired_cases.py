"""Cases of two models, paired by id, with the groups that each belongs to."""

from __future__ import annotations

import pandas as pd

SCORES = ("iou", "intersection", "union", "correct")
GROUPS = ("dataset", "modality", "label")
"""The kinds of subgroup that are looked at, columns of the paired table."""
CANDIDATE, CHAMPION = "_candidate", "_champion"


def pair(candidate: pd.DataFrame, champion: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """One row a case that both have, sorted by id, so that no order of the inputs matters.

    Args:
        candidate, champion: ``id`` and :data:`SCORES`, one row an id; one mode only.
        splits: ``id`` and :data:`GROUPS`.

    Returns:
        ``id``, :data:`GROUPS`, and each score twice, with the endings :data:`CANDIDATE` and :data:`CHAMPION`.
    """
    names = ["id", *SCORES]
    both = candidate[names].merge(
        champion[names], on="id", suffixes=(CANDIDATE, CHAMPION), how="inner", validate="one_to_one"
    )
    table = both.merge(splits[["id", *GROUPS]], on="id", how="inner", validate="one_to_one")
    return table.sort_values("id", kind="stable", ignore_index=True)
