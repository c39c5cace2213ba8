"""Raw files in any of the known layouts to shards, manifest and tokenizer, streamed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from sim4seg.atomic import atomic_directory, write_json
from sim4seg.config.base import Base
from sim4seg.config.ingest import Ingest
from sim4seg.data.adapters import ADAPTERS, Adapter, ReadLog, find_adapters
from sim4seg.data.dataset_vocabulary import all_texts
from sim4seg.data.manifest import write_manifest
from sim4seg.data.shards import ROWS_A_GROUP, ShardWriter
from sim4seg.errors import ConfigError, DataError
from sim4seg.ingest.decode import decode_all
from sim4seg.ingest.grouping import grouped_rows
from sim4seg.ingest.report import check_every_dataset, check_usable, ingest_report
from sim4seg.progress import with_progress

_MEGABYTE = 2**20


@dataclass(frozen=True)
class IngestPaths:
    """Where ingest reads and writes."""

    raw: Path
    shards: Path = Path("data/shards")
    manifest: Path = Path("data/manifest.parquet")
    tokenizer: Path = Path("data/tokenizer")
    report: Path = Path("reports/ingest.json")


def ingest(base: Base, params: Ingest, paths: IngestPaths) -> None:
    """Turn everything below ``paths.raw`` into shards, a manifest and a tokenizer; memory stays flat.

    Bad samples are quarantined with file and reason in the report.

    Raises:
        DataError: nothing to read, a dataset without a single good sample, or more than ``max_bad_fraction`` of the
            samples are bad.
        ConfigError: ``datasets`` names one that does not exist.
    """
    adapters = _chosen(params, paths.raw)
    logs = {adapter.key: ReadLog() for adapter in adapters}
    with atomic_directory(paths.shards) as shards:
        spool = shards / ".spool"
        good, bad, duplicates = decode_all(base, params, adapters, paths.raw, logs, spool)
        check_usable(params, paths.raw, paths.report, good, bad, logs)
        kept = {one.dataset for one in good} | {one["dataset"] for one in duplicates}
        check_every_dataset({a.key: a.directory(paths.raw) for a in adapters if a.key not in kept}, logs)
        rows = grouped_rows(base, params, good)
        _write_shards(params, spool, rows, shards)
        spool.unlink()
    ordered: list[dict[str, Any]] = sorted(rows, key=lambda row: (str(row["shard"]), int(row["row"])))
    frame = pd.DataFrame(ordered)
    write_manifest(paths.manifest, frame)
    _train_tokenizer(params, frame, paths.tokenizer)
    write_json(paths.report, ingest_report(frame, bad, duplicates, logs))


def _chosen(params: Ingest, raw: Path) -> list[Adapter]:
    unknown = sorted(set(params.datasets) - set(ADAPTERS))
    if unknown:
        raise ConfigError(
            f"unknown dataset {', '.join(unknown)}",
            where="params.yaml: ingest.datasets",
            remedy=f"use some of {', '.join(ADAPTERS)}, or [] for all that are found",
        )
    adapters = [a for a in find_adapters(raw) if not params.datasets or a.key in params.datasets]
    if not adapters:
        raise DataError(
            "the source is empty: no folder of a known dataset",
            where=str(raw),
            remedy=f"put one of these folders there: {', '.join(sorted(a.folder for a in ADAPTERS.values()))}",
        )
    return adapters


def _write_shards(params: Ingest, spool: Path, rows: list[dict[str, Any]], folder: Path) -> None:
    """Read the spool once, front to back, and deal its pixels to the splits' shards."""
    splits = sorted({row["split"] for row in rows})
    writers = {split: ShardWriter(folder, split, params.shard_megabytes * _MEGABYTE) for split in splits}
    source = pq.ParquetFile(spool)
    pixels = (cell for batch in source.iter_batches(ROWS_A_GROUP) for cell in batch.to_pylist())
    for row, cell in zip(rows, with_progress(pixels, "shards", total=len(rows)), strict=True):
        writers[row["split"]].add(row, cell["image"], cell["mask"])
    source.close()
    for split, writer in writers.items():
        mine = [row for row in rows if row["split"] == split]
        for row, (name, index) in zip(mine, writer.close(), strict=True):
            row["shard"], row["row"] = name, index


def _train_tokenizer(params: Ingest, frame: pd.DataFrame, out: Path) -> None:
    """Vocabulary of the questions, labels and reasoning phrases that the project can write."""
    from sim4seg.cot.template import all_phrases
    from sim4seg.model.tokenizer import train_tokenizer

    texts = [*all_texts(), *all_phrases(), *frame["question"], *frame["label"]]
    train_tokenizer(texts, params.vocabulary_size, out)
