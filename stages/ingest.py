"""Stage ingest: raw files to Parquet shards, a manifest and a tokenizer."""

from pathlib import Path

from sim4seg.config.params import Params
from stages.entry import run


def main(params: Params) -> None:
    """Ingest with the ``ingest`` section."""
    from sim4seg.ingest.ingest import IngestPaths, ingest

    ingest(params.base, params.ingest, IngestPaths(raw=Path("data/raw")))


if __name__ == "__main__":
    run("ingest", main)
