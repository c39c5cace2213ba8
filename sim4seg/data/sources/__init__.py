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


def _s3(root: str) -> Source:
    from sim4seg.data.sources.s3 import S3Source

    return S3Source(root)


_KINDS: dict[str, Callable[[str], Source]] = {"local": lambda root: LocalSource(Path(root)), "s3": _s3}


def open_root(kind: str, root: str) -> Source:
    """A source of files.

    Args:
        kind: local or s3.
        root: folder, or ``s3://bucket/prefix``; the environment variable SIM4SEG_SOURCE_ROOT wins over it.

    Raises:
        SourceError: ``root`` is not an address of that kind.
    """
    return _KINDS[kind](os.environ.get("SIM4SEG_SOURCE_ROOT") or root)


def open_source(base: Base, params: Fetch) -> Source:
    """The source that ``fetch.source`` names.

    Raises:
        SourceError: ``fetch.root`` is not an address of that kind.
    """
    if params.source == "phantoms":
        return PhantomSource(base, params.phantoms)
    return open_root(params.source, params.root)
