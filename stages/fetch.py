"""Stage fetch: the raw sub-datasets, exactly as the source snapshot says."""

from pathlib import Path

from sim4seg.config.params import Params
from stages.entry import run


def main(params: Params) -> None:
    """Fetch with the ``fetch`` section into ``data/raw``."""
    from sim4seg.data.fetch import fetch

    fetch(params.base, params.fetch, snapshot=Path("source.snapshot.json"), out=Path("data/raw"), work=Path("work"))


if __name__ == "__main__":
    run("fetch", main)
