"""Samples of one split as model inputs, read from the shards one batch at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.data.shards import ShardReader
from sim4seg.embeddings.store import EmbeddingStore
from sim4seg.errors import DataError, ModelError
from sim4seg.model.processing import Sim4SegProcessor
from sim4seg.training.augmentation.augmentation import COLUMNS, Augmentation
from sim4seg.training.balance import Cell
from sim4seg.training.sample_order import Seen


class SplitDataset(Dataset[dict[str, Any]]):
    """Rows of the manifest with their pixels; nothing is kept in memory but the manifest's text.

    Args:
        manifest: with texts.
        split: whose rows.
        shards: folder of the pixels.
        augmentation: changes samples that are asked for by :class:`Seen`; None = all stay as they are.
    """

    def __init__(
        self, manifest: pd.DataFrame, split: str, shards: Path | str, augmentation: Augmentation | None = None
    ) -> None:
        rows = manifest[manifest["split"] == split]
        if rows.empty:
            raise DataError(
                f"no sample in split {split!r}", where=str(shards), remedy="check ingest.splits and reports/ingest.json"
            )
        silent = rows.loc[~rows["cot"].str.contains(SEG_TOKEN, regex=False), "id"].tolist()
        if silent:
            raise DataError(
                f"{len(silent)} answers in split {split!r} have no {SEG_TOKEN}, the first of sample {silent[0]}",
                where="the manifest's column cot",
                remedy="train on texts that passed gate_cot: run `dvc repro gate_cot`",
            )
        self.datasets: list[str] = rows["dataset"].tolist()
        empty = (rows["mask_fraction"] == 0).tolist()
        self.cells = [Cell(*cell) for cell in zip(rows["dataset"], rows["label"], empty, strict=True)]
        self.lengths: list[int] = (rows["question"].str.len() + rows["cot"].str.len()).tolist()
        columns = ["id", "shard", "row", "question", "cot", *(COLUMNS if augmentation else ())]
        self.rows = cast("list[dict[str, Any]]", rows[columns].to_dict("records"))
        self.augmentation = augmentation
        self.reader = ShardReader(shards)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | Seen) -> dict[str, Any]:
        """A sample; ``-1 - row`` gives that row as a stand-in that is not to count."""
        number, place = index if isinstance(index, Seen) else (index, None)
        row = self.rows[number if number >= 0 else -1 - number]
        image, mask = self.reader.image(row["shard"], row["row"]), self.reader.mask(row["shard"], row["row"])
        shown = {"image": image, "mask": mask, "question": row["question"], "answer": row["cot"]}
        if self.augmentation is not None and place is not None:
            shown = self.augmentation(row, image, mask, place)
        return {"id": row["id"], "idle": number < 0, **shown}


class Collator:
    """Samples to one batch of tensors, see :class:`Sim4SegProcessor` for shapes.

    Args:
        processor: makes the tensors.
        embeddings: of SAM's encoder, given to the model in place of its pixels; None = the model encodes.
    """

    def __init__(self, processor: Sim4SegProcessor, embeddings: EmbeddingStore | None = None) -> None:
        self.processor, self.embeddings = processor, embeddings

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        processor = self.processor
        images = [s["image"] for s in samples]
        visual = processor.image_inputs(images)
        questions, answers = [s["question"] for s in samples], [s["answer"] for s in samples]
        texts = processor.text_inputs(questions, answers, visual["vision_grid"])
        told = ((texts["input_ids"] == processor.seg_token_id) & (texts["labels"] != -100)).sum(1)
        if int(told.min()) < 1:
            raise ModelError(
                f"the tokenizer finds no {SEG_TOKEN} in the answer of sample {samples[int(told.argmin())]['id']}",
                where="the batch",
                remedy=f"the tokenizer must know {SEG_TOKEN} as one token: run `dvc repro ingest`",
            )
        if self.embeddings is not None:
            visual.pop("sam_pixel_values")
            visual["sam_embeddings"] = self.embeddings.read(images)
        return {
            **visual,
            **texts,
            "mask_labels": processor.mask_labels([s["mask"] for s in samples]),
            **({"idle": torch.tensor(1)} if samples[0]["idle"] else {}),
        }
