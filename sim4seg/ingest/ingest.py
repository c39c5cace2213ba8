"""Raw files in any of the known layouts to shards, manifest and tokenizer, streamed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim4seg.atomic import atomic_directory, write_json
from sim4seg.config.base import Base
from sim4seg.config.ingest import Ingest
from sim4seg.data.adapters import ADAPTERS, Adapter, ReadLog, find_adapters
from sim4seg.data.dataset_vocabulary import all_texts, load_vocabulary
from sim4seg.data.duplicates import Groups, near_pairs, perceptual_hash
from sim4seg.data.images import decode_image, encode_png, stored_size
from sim4seg.data.manifest import write_manifest
from sim4seg.data.masks import decode_mask
from sim4seg.data.sample import RawSample
from sim4seg.data.shards import ROWS_A_GROUP, ShardWriter
from sim4seg.data.splits import SplitRow, assign_splits
from sim4seg.digest import digest_bytes
from sim4seg.errors import BadSample, ConfigError, DataError
from sim4seg.progress import with_progress
from sim4seg.workers import in_order

_SPOOL = pa.schema([("image", pa.binary()), ("mask", pa.binary())])
_SHOWN = 10
_MEGABYTE = 2**20


@dataclass(frozen=True)
class IngestPaths:
    """Where ingest reads and writes."""

    raw: Path
    shards: Path = Path("data/shards")
    manifest: Path = Path("data/manifest.parquet")
    tokenizer: Path = Path("data/tokenizer")
    report: Path = Path("reports/ingest.json")


@dataclass(frozen=True)
class _Task:
    """One sample to be decoded by a worker."""

    dataset: str
    sample: RawSample


@dataclass(frozen=True)
class _Decoded:
    """What a worker gives back: a row and the PNG bytes, or the reason why not."""

    dataset: str
    key: str
    reason: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    image: bytes = b""
    mask: bytes = b""
    thumbnail: NDArray[np.float32] | None = None


def ingest(base: Base, params: Ingest, paths: IngestPaths) -> None:
    """Turn everything below ``paths.raw`` into shards, a manifest and a tokenizer; memory stays flat.

    Bad samples are quarantined with file and reason in the report.

    Raises:
        DataError: nothing to read, or more than ``max_bad_fraction`` of the samples are bad.
        ConfigError: ``datasets`` names one that does not exist.
    """
    adapters = _chosen(params, paths.raw)
    logs = {adapter.key: ReadLog() for adapter in adapters}
    with atomic_directory(paths.shards) as shards:
        spool = shards / ".spool"
        good, bad, duplicates = _decode_all(base, params, adapters, paths.raw, logs, spool)
        _check(params, paths, good, bad, logs)
        rows = _place(base, params, good)
        _write_shards(params, spool, rows, shards)
        spool.unlink()
    ordered: list[dict[str, Any]] = sorted(rows, key=lambda row: (str(row["shard"]), int(row["row"])))
    frame = pd.DataFrame(ordered)
    write_manifest(paths.manifest, frame)
    _train_tokenizer(params, frame, paths.tokenizer)
    write_json(paths.report, _report(frame, bad, duplicates, logs))


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


def _tasks(adapters: list[Adapter], raw: Path, logs: dict[str, ReadLog]) -> Iterator[_Task]:
    for adapter in adapters:
        for sample in adapter.read(adapter.directory(raw), logs[adapter.key]):
            yield _Task(adapter.key, sample)


def _decode(task: _Task, params: Ingest) -> _Decoded:
    """Decode one sample in a worker; a bad one gives its reason instead of an exception."""
    sample = task.sample
    try:
        vocabulary = load_vocabulary(task.dataset)
        if not sample.label:
            raise BadSample("no diagnosis label", remedy="add it to the dataset's table")
        label = vocabulary.canonical(sample.label)
        size, orientation = stored_size(sample.image, params.max_pixels)
        image = decode_image(sample.image, max_pixels=params.max_pixels, max_side=params.max_side)
        mask = decode_mask(sample.mask, size, orientation, image.shape[:2], params.max_pixels)
    except BadSample as error:
        at = f" ({error.where})" if error.where else ""
        return _Decoded(task.dataset, sample.key, reason=f"{error.what}{at}; {error.remedy}")
    template = int.from_bytes(hashlib.sha256(f"{task.dataset}:{sample.key}".encode()).digest()[:4], "big")
    question = sample.question or vocabulary.question(sample.target, sample.where, template)
    code, thumbnail = perceptual_hash(image)
    image_png, mask_png = encode_png(image), encode_png(mask)
    row = {
        "id": digest_bytes(image_png, mask_png, question.encode()),
        "content": digest_bytes(image_png, mask_png, sample.target.encode(), label.encode()),
        "dataset": task.dataset,
        "modality": sample.modality or vocabulary.modality,
        "key": sample.key,
        "width": image.shape[1],
        "height": image.shape[0],
        "target": sample.target,
        "where": sample.where,
        "question": question,
        "label": label,
        "synonyms": vocabulary.synonyms(label),
        "official": sample.split,
        "own_group": f"{task.dataset}:{sample.group}",
        "phash": f"{code:016x}",
        "mask_fraction": float(mask.mean()),
        "cot": "",
        "cot_provider": "",
        "cot_verdict": "",
        "cot_attempts": 0,
    }
    return _Decoded(task.dataset, sample.key, "", row, image_png, mask_png, thumbnail)


def _decode_all(
    base: Base, params: Ingest, adapters: list[Adapter], raw: Path, logs: dict[str, ReadLog], spool: Path
) -> tuple[list[_Decoded], list[_Decoded], list[dict[str, str]]]:
    """Decode every sample; pixels go to ``spool`` in order, rows (with empty pixels) stay in memory."""
    good: list[_Decoded] = []
    bad: list[_Decoded] = []
    duplicates: list[dict[str, str]] = []
    first: dict[str, str] = {}
    results = in_order(partial(_decode, params=params), _tasks(adapters, raw, logs), base.workers)
    pending: list[dict[str, bytes]] = []
    with pq.ParquetWriter(spool, _SPOOL, compression="none", use_dictionary=False) as writer:
        for done in with_progress(results, "ingest"):
            if done.reason:
                bad.append(done)
                continue
            content = done.row.pop("content")
            if content in first:
                duplicates.append({"dataset": done.dataset, "key": done.key, "same_as": first[content]})
                continue
            first[content] = done.key
            pending.append({"image": done.image, "mask": done.mask})
            good.append(_Decoded(done.dataset, done.key, row=done.row, thumbnail=done.thumbnail))
            if len(pending) == ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(pending, schema=_SPOOL))
                pending = []
        writer.write_table(pa.Table.from_pylist(pending, schema=_SPOOL))
    return good, bad, duplicates


def _check(
    params: Ingest, paths: IngestPaths, good: list[_Decoded], bad: list[_Decoded], logs: dict[str, ReadLog]
) -> None:
    refused = [f"{key}: {file}: {reason}" for key, log in logs.items() for file, reason in log.unusable]
    reasons = [f"{one.dataset}: {one.key}: {one.reason}" for one in bad] + refused
    total = len(good) + len(reasons)
    if not total:
        raise DataError(
            "the source is empty: its folders hold no sample", where=str(paths.raw), remedy="check the folders' layout"
        )
    if len(reasons) > params.max_bad_fraction * total or not good:
        shown = "\n".join(f"  - {reason}" for reason in reasons[:_SHOWN])
        more = f"\n  … and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        write_json(paths.report, _report(pd.DataFrame([one.row for one in good]), bad, [], logs))
        raise DataError(
            f"{len(reasons)} of {total} samples are unusable ({len(reasons) / total:.1%}; "
            f"allowed {params.max_bad_fraction:.1%}):\n{shown}{more}",
            where=str(paths.report),
            remedy="mend or remove the files named there, or raise ingest.max_bad_fraction in params.yaml",
        )


def _place(base: Base, params: Ingest, good: list[_Decoded]) -> list[dict[str, Any]]:
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


def _report(
    frame: pd.DataFrame, bad: list[_Decoded], duplicates: list[dict[str, str]], logs: dict[str, ReadLog]
) -> dict[str, Any]:
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
