"""Files and folders of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainPaths:
    """Where training reads and writes."""

    shards: Path = Path("data/shards")
    manifest: Path = Path("data/manifest_cot.parquet")
    tokenizer: Path = Path("data/tokenizer")
    model: Path = Path("models/sim4seg")
    report: Path = Path("reports/train.json")
    curve: Path = Path("reports/training_curve.csv")
    work: Path = Path("work")
    embeddings: Path = Path("data/embeddings")
