"""What ingest says of the samples: counts, the unusable ones with their reasons, and whether there are too many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from sim4seg.atomic import write_json
from sim4seg.config.ingest import Ingest
from sim4seg.data.adapters import ReadLog
from sim4seg.errors import DataError
from sim4seg.ingest.decode import Decoded

_SHOWN = 10


def ingest_report(
    frame: pd.DataFrame, bad: list[Decoded], duplicates: list[dict[str, str]], logs: dict[str, ReadLog]
) -> dict[str, Any]:
    """What was read and what was left out, for ``reports/ingest.json``."""
    unusable = [{"dataset": one.dataset, "key": one.key, "reason": one.reason} for one in bad]
    unusable += [
        {"dataset": key, "key": file, "reason": reason} for key, log in logs.items() for file, reason in log.unusable
    ]
    counts: dict[str, dict[str, int]] = {}
    if "split" in frame:
        for (dataset, split), rows in frame.groupby(["dataset", "split"]):
            counts.setdefault(str(dataset), {})[str(split)] = len(rows)
    return {
        "samples": len(frame),
        "datasets": counts,
        "labels": {}
        if frame.empty
        else {d: dict(sorted(Counter(r["label"]).items())) for d, r in frame.groupby("dataset")},
        "quarantined": {"count": len(unusable), "files": unusable},
        "duplicates": {"count": len(duplicates), "files": duplicates},
        "passed_over": {key: dict(sorted(log.passed_over.items())) for key, log in logs.items() if log.passed_over},
    }


def check_usable(
    params: Ingest, raw: Path, report: Path, good: list[Decoded], bad: list[Decoded], logs: dict[str, ReadLog]
) -> None:
    """Raise where there is nothing, or too much of it is unusable; the report is written first, for people to look at.

    Raises:
        DataError: no sample, or a larger share of bad ones than ``max_bad_fraction``.
    """
    refused = [f"{key}: {file}: {reason}" for key, log in logs.items() for file, reason in log.unusable]
    reasons = [f"{one.dataset}: {one.key}: {one.reason}" for one in bad] + refused
    total = len(good) + len(reasons)
    if not total:
        raise DataError(
            "the source is empty: its folders hold no sample", where=str(raw), remedy="check the folders' layout"
        )
    if len(reasons) > params.max_bad_fraction * total or not good:
        shown = "\n".join(f"  - {reason}" for reason in reasons[:_SHOWN])
        more = f"\n  … and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        write_json(report, ingest_report(pd.DataFrame([one.row for one in good]), bad, [], logs))
        raise DataError(
            f"{len(reasons)} of {total} samples are unusable ({len(reasons) / total:.1%}; "
            f"allowed {params.max_bad_fraction:.1%}):\n{shown}{more}",
            where=str(report),
            remedy="mend or remove the files named there, or raise ingest.max_bad_fraction in params.yaml",
        )


def check_every_dataset(barren: dict[str, Path], logs: dict[str, ReadLog]) -> None:
    """Raise where a dataset is there but gave not one sample: others beside it would hide that.

    Args:
        barren: folders of the datasets without a sample, by key.
        logs: what was passed over in each.

    Raises:
        DataError: there is such a dataset.
    """
    for key, folder in sorted(barren.items()):
        counted = [f"{count} x {reason}" for reason, count in sorted(logs[key].passed_over.items())]
        counted += [f"{file}: {reason}" for file, reason in logs[key].unusable[:_SHOWN]]
        raise DataError(
            f"the dataset {key} gives not one sample ({'; '.join(counted) or 'no image where its layout has them'})",
            where=str(folder),
            remedy=f"check its layout (sim4seg/data/adapters/{key}.py), remove the folder, or leave {key} out of "
            "ingest.datasets",
        )
