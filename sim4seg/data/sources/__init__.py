"""Where raw data come from: one module a kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch
from sim4seg.data.snapshot import Snapshot
from sim4seg.data.sources.local import LocalSource
from sim4seg.data.sources.phantoms import PhantomSource


class Source(Protocol):
    """A place of raw data."""

    def take_snapshot(self) -> Snapshot:
        """List what is there now."""
        ...

    def fetch(self, snapshot: Snapshot, out: Path) -> None:
        """Put exactly the snapshot's objects below ``out``, which may hold part of them from a killed run."""
        ...

    def check(self, snapshot: Snapshot) -> Iterator[str]:
        """One line for each object of the snapshot that is not there any more as it was."""
        ...


def source_root(params: Fetch) -> str:
    """Folder of a local source or address of a bucket: SIM4SEG_SOURCE_ROOT, else ``fetch.root``."""
    return os.environ.get("SIM4SEG_SOURCE_ROOT") or params.root


def _s3(base: Base, params: Fetch) -> Source:
    from sim4seg.data.sources.s3 import S3Source

    return S3Source(source_root(params))


_KINDS: dict[str, Callable[[Base, Fetch], Source]] = {
    "phantoms": lambda base, params: PhantomSource(base, params.phantoms),
    "local": lambda base, params: LocalSource(Path(source_root(params))),
    "s3": _s3,
}


def open_source(base: Base, params: Fetch) -> Source:
    """The source that ``fetch.source`` names.

    Raises:
        SourceError: ``fetch.root`` is not an address of that kind.
    """
    return _KINDS[params.source](base, params)
