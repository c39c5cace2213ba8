"""Stage generate_cot: a reasoning text for every sample."""

from pathlib import Path

from sim4seg.config.params import Params
from stages.entry import run


def main(params: Params) -> None:
    """Write and criticise texts with the ``generate_cot`` section."""
    from sim4seg.cot.generate import generate_cot

    generate_cot(
        params.base.seed,
        params.generate_cot,
        manifest=Path("data/manifest.parquet"),
        shards=Path("data/shards"),
        manifest_out=Path("data/manifest_cot.parquet"),
        report=Path("reports/generate_cot.json"),
        workers=params.base.workers,
    )


if __name__ == "__main__":
    run("generate_cot", main)
