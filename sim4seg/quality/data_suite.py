"""What a manifest must be before anything is written or trained on it."""

from __future__ import annotations

import great_expectations.expectations as gxe
import pandas as pd

from sim4seg.config.gate_data import GateData
from sim4seg.data.dataset_vocabulary import load_vocabulary, vocabulary_keys
from sim4seg.data.sample import MODALITIES, SPLITS
from sim4seg.errors import ConfigError
from sim4seg.quality.gate import Check

TEXT_COLUMNS = ("id", "dataset", "modality", "key", "shard", "question", "label", "split", "group", "phash")


def _label_known(dataset: str, label: str) -> bool:
    try:
        vocabulary = load_vocabulary(dataset)
    except ConfigError:
        return False
    return vocabulary.open_labels or label in vocabulary.labels


def _derive(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns that put rules between rows into a value of each row."""
    frame = frame.copy()
    frame["place"] = frame["dataset"].astype(str) + ":" + frame["key"].astype(str)
    frame["splits_of_group"] = frame.groupby("group", dropna=False)["split"].transform("nunique")
    twins = frame.groupby(["dataset", "phash", "mask_fraction"], dropna=False)["split"]
    frame["splits_of_picture"] = twins.transform("nunique")
    frame["label_known"] = [_label_known(d, x) for d, x in zip(frame["dataset"], frame["label"], strict=True)]
    frame["empty"] = (frame["mask_fraction"] == 0).astype(float)
    frame["repeated"] = frame["id"].duplicated().astype(float)
    frame["label_share"] = frame.groupby("label", dropna=False)["id"].transform("size") / max(1, len(frame))
    for split in SPLITS:
        frame[f"is_{split}"] = (frame["split"] == split).astype(int)
    return frame


def data_suite(manifest: pd.DataFrame, limits: GateData) -> tuple[pd.DataFrame, list[Check]]:
    """The frame with derived columns, and the expectations of ``gate_data``."""
    checks = [
        Check("enough rows", gxe.ExpectTableRowCountToBeBetween(min_value=limits.min_rows)),
        *(Check(f"{name} is there", gxe.ExpectColumnValuesToNotBeNull(column=name)) for name in TEXT_COLUMNS),
        *(
            Check(f"{name} is not blank", gxe.ExpectColumnValuesToMatchRegex(column=name, regex=r"\S"))
            for name in ("id", "question", "label", "group")
        ),
        Check("id is a digest", gxe.ExpectColumnValuesToMatchRegex(column="id", regex=r"^[0-9a-f]{64}$")),
        Check("phash is 16 hex digits", gxe.ExpectColumnValuesToMatchRegex(column="phash", regex=r"^[0-9a-f]{16}$")),
        Check("dataset is known", gxe.ExpectColumnValuesToBeInSet(column="dataset", value_set=vocabulary_keys())),
        Check("modality is known", gxe.ExpectColumnValuesToBeInSet(column="modality", value_set=list(MODALITIES))),
        Check("split is known", gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS))),
        Check("label is in the vocabulary", gxe.ExpectColumnValuesToBeInSet(column="label_known", value_set=[True])),
        *(
            Check(f"{side} in range", gxe.ExpectColumnValuesToBeBetween(column=side, min_value=limits.min_side))
            for side in ("width", "height")
        ),
        Check(
            "mask coverage in range",
            gxe.ExpectColumnValuesToBeBetween(column="mask_fraction", min_value=0, max_value=limits.max_mask_fraction),
        ),
        Check(
            "share without a lesion",
            gxe.ExpectColumnMeanToBeBetween(column="empty", max_value=limits.max_empty_fraction),
        ),
        Check(
            "share of one label",
            gxe.ExpectColumnMaxToBeBetween(column="label_share", max_value=limits.max_label_share),
        ),
        Check(
            "share of duplicates",
            gxe.ExpectColumnMeanToBeBetween(column="repeated", max_value=limits.max_duplicate_fraction),
        ),
        *(
            Check(
                f"enough rows in {split}",
                gxe.ExpectColumnSumToBeBetween(column=f"is_{split}", min_value=limits.min_rows_per_split),
            )
            for split in SPLITS
        ),
        Check("no group in two splits", gxe.ExpectColumnValuesToBeInSet(column="splits_of_group", value_set=[1])),
        Check("no picture in two splits", gxe.ExpectColumnValuesToBeInSet(column="splits_of_picture", value_set=[1])),
        Check(
            "question of sane length",
            gxe.ExpectColumnValueLengthsToBeBetween(column="question", min_value=8, max_value=500),
        ),
        Check("one row a place in the shards", gxe.ExpectCompoundColumnsToBeUnique(column_list=["shard", "row"])),
    ]
    return _derive(manifest), checks
