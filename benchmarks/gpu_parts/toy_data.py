"""A few painted samples, ingested and with texts, for a dry run without real images."""

from __future__ import annotations

from pathlib import Path

import yaml

from sim4seg.config.fetch import PhantomCounts
from sim4seg.config.overlay import laid_over
from sim4seg.config.params import load_params
from sim4seg.cot.generate import generate_cot
from sim4seg.data.sources.phantoms import PhantomSource
from sim4seg.ingest.ingest import IngestPaths, ingest

ROOT = Path(__file__).parents[2]
DATASETS = ["busi", "fracatlas"]


def make_toy_data(out: Path) -> None:
    """Write shards/, manifest_cot.parquet and tokenizer/ below ``out``."""
    params = load_params(ROOT / "params.yaml")
    base = params.base.model_copy(update={"workers": 1})
    source = PhantomSource(base, PhantomCounts(train=4, val=2, test=2, size=96))
    source.fetch(source.take_snapshot(), out / "raw")
    paths = IngestPaths(out / "raw", out / "shards", out / "manifest.parquet", out / "tokenizer", out / "ingest.json")
    ingest(base, params.ingest.model_copy(update={"datasets": DATASETS, "vocabulary_size": 400}), paths)
    generate_cot(17, params.generate_cot, paths.manifest, paths.shards, out / "manifest_cot.parquet", out / "cot.json")


def write_toy_params(out: Path) -> None:
    """A parameter file of a preset that a CPU trains in seconds."""
    train = {"preset": "paper-small", "batch_size": 2, "epochs": 1, "checkpoints": 1, "bf16": "off"}
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    changed = laid_over(values, {"train": train, "evaluate": {"batch_size": 4}})
    out.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
