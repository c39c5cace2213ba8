"""Write, criticise, write again: a reasoning text for every row of the manifest, with its provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from sim4seg.atomic import write_json
from sim4seg.config.generate_cot import GenerateCot
from sim4seg.cot.contract import ACCEPTED
from sim4seg.cot.critic import criticise
from sim4seg.cot.findings import measure
from sim4seg.cot.provider import CotCase, CotProvider
from sim4seg.cot.providers import open_provider
from sim4seg.cot.rewrite import text_stream
from sim4seg.data.manifest import read_manifest, write_manifest
from sim4seg.data.shards import ShardReader
from sim4seg.progress import with_progress
from sim4seg.workers import in_order


def generate_cot(
    seed: int, params: GenerateCot, manifest: Path, shards: Path, manifest_out: Path, report: Path, workers: int = 1
) -> None:
    """Fill the ``cot`` columns and write the manifest anew; row by row, each from its own random stream.

    Args:
        seed: ``base.seed``.
        params: the ``generate_cot`` section.
        manifest, shards: what ingest wrote.
        manifest_out, report: files to write.
        workers: processes, 0 = one a core; the texts are the same whatever their number.

    Raises:
        ConfigError: unknown provider.
        DataError: manifest or shards cannot be read.
    """
    open_provider(params.provider)  # a wrong name is said here, once
    _reader.cache_clear()  # the shards may have been written anew
    frame = read_manifest(manifest)
    labels = {str(dataset): sorted(set(rows["label"])) for dataset, rows in frame.groupby("dataset")}
    reason = partial(_reason, labels=labels, params=params, seed=seed, shards=str(shards))
    rows = in_order(reason, _rows(frame), workers)
    result = pd.DataFrame(list(with_progress(rows, "reasoning", total=len(frame))))
    write_manifest(manifest_out, result)
    write_json(report, _report(result, params))


def _reason(
    row: dict[str, Any], *, labels: dict[str, list[str]], params: GenerateCot, seed: int, shards: str
) -> dict[str, Any]:
    """The row with its text, written in whatever process this is."""
    reader = _reader(shards)
    image, mask = reader.image(row["shard"], row["row"]), reader.mask(row["shard"], row["row"])
    others = tuple(label for label in labels[row["dataset"]] if label != row["label"])
    case = CotCase(image, mask, row["modality"], row["question"], row["label"], others, measure(image, mask))
    written = _write(open_provider(params.provider), case, params, seed, row["id"])
    return {**row, "cot_provider": params.provider, **written}


@cache
def _reader(shards: str) -> ShardReader:
    return ShardReader(shards)


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in frame.to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def _write(provider: CotProvider, case: CotCase, params: GenerateCot, seed: int, sample: str) -> dict[str, Any]:
    """The first text that the critic accepts, else the last one with the objections to it."""
    rng = text_stream(seed, sample)
    text, objections, attempt = "", ["never written"], 0
    while objections and attempt < params.max_attempts:
        attempt += 1
        text = provider.write(case, attempt, rng)
        objections = criticise(text, case)
    return {"cot": text, "cot_verdict": "; ".join(objections) or ACCEPTED, "cot_attempts": attempt}


def _report(frame: pd.DataFrame, params: GenerateCot) -> dict[str, Any]:
    words = frame["cot"].map(lambda text: len(str(text).split()))
    return {
        "provider": params.provider,
        "texts": len(frame),
        "accepted": int((frame["cot_verdict"] == ACCEPTED).sum()),
        "attempts": {str(k): v for k, v in sorted(Counter(frame["cot_attempts"].tolist()).items())},
        "words": {"min": int(words.min()), "mean": round(float(words.mean()), 1), "max": int(words.max())},
    }
