"""Where raw data come from: one module a kind. ``s3`` will be the third."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sim4seg.config import Base, Fetch
from sim4seg.data.snapshot import Snapshot
from sim4seg.data.sources.local import LocalSource
from sim4seg.data.sources.phantoms import PhantomSource
from sim4seg.errors import SourceError


class Source(Protocol):
    """A place of raw data."""

    def take_snapshot(self) -> Snapshot:
        """List what is there now."""
        ...

    def fetch(self, snapshot: Snapshot, out: Path) -> None:
        """Put exactly the snapshot's objects below ``out``, which may hold part of them from a killed run."""
        ...


def source_root(params: Fetch) -> Path:
    """Folder of a local source: SIM4SEG_SOURCE_ROOT, else ``fetch.root``."""
    return Path(os.environ.get("SIM4SEG_SOURCE_ROOT") or params.root)


_KINDS: dict[str, Callable[[Base, Fetch], Source]] = {
    "phantoms": lambda base, params: PhantomSource(base, params.phantoms),
    "local": lambda base, params: LocalSource(source_root(params)),
}


def open_source(base: Base, params: Fetch) -> Source:
    """The source that ``fetch.source`` names.

    Raises:
        SourceError: this kind is not there yet.
    """
    if params.source not in _KINDS:
        raise SourceError(
            f"source kind {params.source!r} is not available in this version",
            where="params.yaml: fetch.source",
            remedy=f"use one of {', '.join(_KINDS)}; download the bucket and use local meanwhile",
        )
    return _KINDS[params.source](base, params)
