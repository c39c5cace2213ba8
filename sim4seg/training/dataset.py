"""Samples of one split as model inputs, read from the shards one batch at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor
from torch.utils.data import Dataset

from sim4seg.data.shards import ShardReader
from sim4seg.errors import DataError
from sim4seg.model.processing import Sim4SegProcessor


class SplitDataset(Dataset[dict[str, Any]]):
    """Rows of the manifest with their pixels; nothing is kept in memory but the manifest's text."""

    def __init__(self, manifest: pd.DataFrame, split: str, shards: Path | str) -> None:
        rows = manifest[manifest["split"] == split]
        if rows.empty:
            raise DataError(
                f"no sample in split {split!r}", where=str(shards), remedy="check ingest.splits and reports/ingest.json"
            )
        self.rows = rows[["shard", "row", "question", "cot"]].to_dict("records")
        self.reader = ShardReader(shards)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        return {
            "image": self.reader.image(row["shard"], row["row"]),
            "mask": self.reader.mask(row["shard"], row["row"]),
            "question": row["question"],
            "answer": row["cot"],
        }


class Collator:
    """Samples to one batch of tensors, see :class:`Sim4SegProcessor` for shapes."""

    def __init__(self, processor: Sim4SegProcessor) -> None:
        self.processor = processor

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        processor = self.processor
        visual = processor.image_inputs([s["image"] for s in samples])
        questions, answers = [s["question"] for s in samples], [s["answer"] for s in samples]
        return {
            **visual,
            **processor.text_inputs(questions, answers, visual["vision_grid"]),
            "mask_labels": processor.mask_labels([s["mask"] for s in samples]),
        }
