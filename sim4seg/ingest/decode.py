"""Decoding raw samples, in several processes: canonical pixels and a manifest row, or the reason why not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim4seg.config.base import Base
from sim4seg.config.ingest import Ingest
from sim4seg.data.adapters import Adapter, ReadLog
from sim4seg.data.dataset_vocabulary import load_vocabulary
from sim4seg.data.decoding import decoding
from sim4seg.data.duplicates import perceptual_hash
from sim4seg.data.images import decode_image, encode_png, stored_size
from sim4seg.data.masks import decode_mask
from sim4seg.data.sample import RawSample
from sim4seg.data.shards import ROWS_A_GROUP
from sim4seg.digest import digest_bytes
from sim4seg.errors import BadSample
from sim4seg.progress import with_progress
from sim4seg.workers import in_order

SPOOL = pa.schema([("image", pa.binary()), ("mask", pa.binary())])
"""The spool: PNG bytes of every good sample in the order in which they were read, until their splits are known."""


@dataclass(frozen=True)
class DecodeTask:
    """One sample to be decoded by a worker."""

    dataset: str
    sample: RawSample


@dataclass(frozen=True)
class Decoded:
    """What a worker gives back: a row and the PNG bytes, or the reason why not."""

    dataset: str
    key: str
    reason: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    image: bytes = b""
    mask: bytes = b""
    thumbnail: NDArray[np.float32] | None = None


def _tasks(adapters: list[Adapter], raw: Path, logs: dict[str, ReadLog]) -> Iterator[DecodeTask]:
    for adapter in adapters:
        for sample in adapter.read(adapter.directory(raw), logs[adapter.key]):
            yield DecodeTask(adapter.key, sample)


def decode(task: DecodeTask, params: Ingest) -> Decoded:
    """Decode one sample in a worker; a bad one gives its reason instead of an exception."""
    sample = task.sample
    try:
        vocabulary = load_vocabulary(task.dataset)
        if not sample.label:
            raise BadSample("no diagnosis label", remedy="add it to the dataset's table")
        label = vocabulary.canonical(sample.label)
        with decoding("sample", sample.image):
            size, orientation = stored_size(sample.image, params.max_pixels)
            image = decode_image(sample.image, max_pixels=params.max_pixels, max_side=params.max_side)
            mask = decode_mask(sample.mask, size, orientation, image.shape[:2], params.max_pixels)
    except BadSample as error:
        at = f" ({error.where})" if error.where else ""
        return Decoded(task.dataset, sample.key, reason=f"{error.what}{at}; {error.remedy}")
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
    return Decoded(task.dataset, sample.key, "", row, image_png, mask_png, thumbnail)


def decode_all(
    base: Base, params: Ingest, adapters: list[Adapter], raw: Path, logs: dict[str, ReadLog], spool: Path
) -> tuple[list[Decoded], list[Decoded], list[dict[str, str]]]:
    """Decode every sample; pixels go to ``spool`` in order, rows (with empty pixels) stay in memory."""
    good: list[Decoded] = []
    bad: list[Decoded] = []
    duplicates: list[dict[str, str]] = []
    first: dict[str, str] = {}
    results = in_order(partial(decode, params=params), _tasks(adapters, raw, logs), base.workers)
    pending: list[dict[str, bytes]] = []
    with pq.ParquetWriter(spool, SPOOL, compression="none", use_dictionary=False) as writer:
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
            good.append(Decoded(done.dataset, done.key, row=done.row, thumbnail=done.thumbnail))
            if len(pending) == ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(pending, schema=SPOOL))
                pending = []
        writer.write_table(pa.Table.from_pylist(pending, schema=SPOOL))
    return good, bad, duplicates
