"""Fetch exactly what the source snapshot lists."""

from __future__ import annotations

from pathlib import Path

from sim4seg.atomic import move_directory
from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch
from sim4seg.data.snapshot import read_snapshot
from sim4seg.data.sources import open_source
from sim4seg.digest import digest_json
from sim4seg.errors import SourceError


def fetch(base: Base, params: Fetch, *, snapshot: Path, out: Path, work: Path) -> None:
    """Bring the raw data to ``out``; a killed run is taken up where it was.

    Args:
        base, params: sections of params.yaml.
        snapshot: the committed snapshot file.
        out: folder that appears when everything is there.
        work: folder for what is fetched so far.

    Raises:
        SourceError: snapshot and parameters disagree, or the source is empty, changed or out of reach.
    """
    taken = read_snapshot(snapshot)
    if taken.kind != params.source:
        raise SourceError(
            f"the snapshot is of kind {taken.kind!r}, but fetch.source is {params.source!r}",
            where=str(snapshot),
            remedy="run `sim4seg snapshot` to record the source that params.yaml names",
        )
    if taken.kind != "phantoms" and not taken.objects:
        raise SourceError(
            "the source snapshot lists no files",
            where=str(snapshot),
            remedy="run `sim4seg snapshot` after the data is in place",
        )
    digest = digest_json([taken.model_dump(), params.model_dump(exclude={"root"}), base.seed])
    partial = work / f"fetch-{digest[:16]}"
    partial.mkdir(parents=True, exist_ok=True)
    open_source(base, params).fetch(taken, partial)
    move_directory(partial, out)
