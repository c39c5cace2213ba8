"""The manifest: one row a sample, no pixels (columns in docs/architecture.md)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim4seg.atomic import atomic_file
from sim4seg.errors import DataError

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("dataset", pa.string()),
        ("modality", pa.string()),
        ("key", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("target", pa.string()),
        ("where", pa.string()),
        ("question", pa.string()),
        ("label", pa.string()),
        ("synonyms", pa.list_(pa.string())),
        ("split", pa.string()),
        ("group", pa.string()),
        ("phash", pa.string()),
        ("mask_fraction", pa.float64()),
        ("cot", pa.string()),
        ("cot_provider", pa.string()),
        ("cot_verdict", pa.string()),
        ("cot_attempts", pa.int32()),
    ]
)


def write_manifest(path: Path | str, frame: pd.DataFrame) -> None:
    """Write a manifest atomically; the same rows give the same bytes."""
    table = pa.Table.from_pandas(frame[SCHEMA.names], schema=SCHEMA, preserve_index=False).replace_schema_metadata()
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_manifest(path: Path | str) -> pd.DataFrame:
    """Read a manifest; ``synonyms`` are lists.

    Raises:
        DataError: missing, unreadable or without one of its columns.
    """
    remedy = "run `dvc repro` to make it anew"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"cannot read the manifest: {error}", where=str(path), remedy=remedy) from error
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise DataError(f"the manifest lacks columns: {', '.join(missing)}", where=str(path), remedy=remedy)
    frame: pd.DataFrame = table.to_pandas()
    frame["synonyms"] = [list(names) for names in frame["synonyms"]]
    return frame
