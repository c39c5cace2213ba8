"""Record what a source holds now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch
from sim4seg.data.snapshot import Snapshot, write_snapshot
from sim4seg.data.sources import open_source
from sim4seg.errors import Sim4SegError


def record_source(base: Base, fetch: Fetch, file: Path, kind: str | None = None, root: str | None = None) -> Snapshot:
    """List every object of the source, and write the list.

    Args:
        base: the ``base`` section.
        fetch: the ``fetch`` section.
        file: to write.
        kind: of source, in place of ``fetch.source``.
        root: folder or ``s3://BUCKET/PREFIX``, in place of ``fetch.root``.

    Raises:
        Sim4SegError: no such kind of source.
        SourceError: the source cannot be read.
    """
    kinds = get_args(Fetch.model_fields["source"].annotation)
    if kind is not None and kind not in kinds:
        raise Sim4SegError(f"no such kind of source: {kind!r}", where="--source", remedy=f"use one of {kinds}")
    if root is not None:
        os.environ["SIM4SEG_SOURCE_ROOT"] = root  # what was typed last wins over the environment
    snapshot = open_source(base, fetch.model_copy(update={"source": kind or fetch.source})).take_snapshot()
    write_snapshot(file, snapshot)
    return snapshot
