"""Parquet shards in the Hugging Face ``datasets`` convention, written as a stream and read at random."""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image as Picture

from sim4seg.errors import DataError

ROWS_A_GROUP = 16
"""Rows read together at random access: about a megabyte of PNG."""


def _schema() -> pa.Schema:
    from datasets import Features, Image, Value

    text = Value("string")
    features = Features(
        {
            "id": text,
            "image": Image(),
            "mask": Image(),
            "dataset": text,
            "modality": text,
            "question": text,
            "label": text,
        }
    )
    return features.arrow_schema


class ShardWriter:
    """Writes one split as ``<split>-00000-of-0000N.parquet``; N is known, and the names are given, at the end."""

    def __init__(self, folder: Path, split: str, max_bytes: int) -> None:
        self.folder, self.split, self.max_bytes = folder, split, max_bytes
        self.schema = _schema()
        self.parts: list[Path] = []
        self.places: list[tuple[int, int]] = []
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        self._bytes = self._written = 0

    def add(self, row: dict[str, Any], image: bytes, mask: bytes) -> None:
        """Append one sample; PNG bytes."""
        if self._writer is not None and self._bytes + len(image) + len(mask) > self.max_bytes:
            self._close_part()
        if self._writer is None:
            self._open_part()
        self.places.append((len(self.parts) - 1, self._written + len(self._rows)))
        self._rows.append(
            {
                **{name: row[name] for name in self.schema.names if name not in ("image", "mask")},
                "image": {"bytes": image, "path": None},
                "mask": {"bytes": mask, "path": None},
            }
        )
        self._bytes += len(image) + len(mask)
        if len(self._rows) == ROWS_A_GROUP:
            self._flush()

    def close(self) -> list[tuple[str, int]]:
        """Finish, name the parts, and return (file name, row) of each sample in the order they were added."""
        if self._writer is not None:
            self._close_part()
        names = [f"{self.split}-{i:05d}-of-{len(self.parts):05d}.parquet" for i in range(len(self.parts))]
        for part, name in zip(self.parts, names, strict=True):
            part.rename(self.folder / name)
        return [(names[part], row) for part, row in self.places]

    def _open_part(self) -> None:
        self.parts.append(self.folder / f".{self.split}-{len(self.parts):05d}")
        # PNG does not compress further, and texts are few.
        self._writer = pq.ParquetWriter(self.parts[-1], self.schema, compression="none", use_dictionary=False)
        self._bytes = self._written = 0

    def _flush(self) -> None:
        if self._rows and self._writer is not None:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
            self._written += len(self._rows)
            self._rows = []

    def _close_part(self) -> None:
        self._flush()
        assert self._writer is not None
        self._writer.close()
        self._writer = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()


class _Shard:
    """One open file; keeps the row group read last."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = pq.ParquetFile(path, memory_map=True)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"cannot read a shard: {error}", where=str(path), remedy="run `dvc repro ingest`, or `dvc pull`"
            ) from error
        self.group = -1
        self.rows: pa.Table | None = None

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        metadata = self.file.metadata
        return np.cumsum([0] + [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])

    def cell(self, row: int, column: str) -> bytes:
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        if group != self.group:
            self.rows = self.file.read_row_group(group, columns=["image", "mask"])
            self.group = group
        assert self.rows is not None
        return self.rows[column][row - int(self.starts[group])].as_py()["bytes"]  # type: ignore[no-any-return]


class ShardReader:
    """Random access to pixels by (shard file name, row); memory is one row group an open shard."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._open: dict[str, _Shard] = {}

    def bytes(self, shard: str, row: int, column: str = "image") -> bytes:
        """PNG bytes of ``image`` or ``mask``.

        Raises:
            DataError: no such shard.
        """
        if shard not in self._open:
            self._open[shard] = _Shard(self.folder / shard)
        return self._open[shard].cell(row, column)

    def image(self, shard: str, row: int) -> NDArray[np.uint8]:
        """(H, W) or (H, W, 3) uint8."""
        return np.asarray(Picture.open(io.BytesIO(self.bytes(shard, row))))

    def mask(self, shard: str, row: int) -> NDArray[np.bool_]:
        """(H, W) bool."""
        return np.asarray(Picture.open(io.BytesIO(self.bytes(shard, row, "mask")))) > 127
