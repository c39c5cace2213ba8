"""A few painted samples, ingested and with texts, for a dry run without real images."""

from __future__ import annotations

from pathlib import Path

import yaml

from sim4seg.config.base import Base
from sim4seg.config.fetch import PhantomCounts
from sim4seg.config.generate_cot import GenerateCot
from sim4seg.config.ingest import Ingest
from sim4seg.cot.generate import generate_cot
from sim4seg.data.sources.phantoms import PhantomSource
from sim4seg.ingest.ingest import IngestPaths, ingest

DATASETS = ["busi", "fracatlas"]


def make_toy_data(out: Path) -> None:
    """Write shards/, manifest_cot.parquet and tokenizer/ below ``out``."""
    base, counts = Base(workers=1), PhantomCounts(train=4, val=2, test=2, size=96)
    source = PhantomSource(base, counts)
    source.fetch(source.take_snapshot(), out / "raw")
    paths = IngestPaths(out / "raw", out / "shards", out / "manifest.parquet", out / "tokenizer", out / "ingest.json")
    ingest(base, Ingest(datasets=DATASETS, vocabulary_size=400), paths)
    generate_cot(17, GenerateCot(), paths.manifest, paths.shards, out / "manifest_cot.parquet", out / "cot.json")


def write_toy_params(out: Path) -> None:
    """A parameter file of a preset that a CPU trains in seconds."""
    train = {"preset": "paper-small", "batch_size": 2, "epochs": 1, "checkpoints": 1, "bf16": "off"}
    out.write_text(yaml.safe_dump({"train": train, "evaluate": {"batch_size": 4}}), encoding="utf-8")
