"""Painted images, written in the layouts of the ten sub-datasets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sim4seg.atomic import atomic_directory
from sim4seg.config.base import Base
from sim4seg.config.fetch import PhantomCounts
from sim4seg.data.adapters import ADAPTERS, WritableAdapter
from sim4seg.data.phantoms import paint_dataset
from sim4seg.data.snapshot import Snapshot
from sim4seg.progress import with_progress
from sim4seg.workers import in_order


class PhantomSource:
    """Everything follows from seed and counts, so the snapshot lists nothing."""

    def __init__(self, base: Base, counts: PhantomCounts) -> None:
        self.base = base
        self.counts = counts

    def take_snapshot(self) -> Snapshot:
        """Phantoms are in params.yaml already."""
        return Snapshot(kind="phantoms")

    def fetch(self, snapshot: Snapshot, out: Path) -> None:
        """Paint each dataset that is not there yet; a dataset appears whole or not at all."""
        keys = [key for key, adapter in ADAPTERS.items() if isinstance(adapter, WritableAdapter)]
        todo = [key for key in keys if not ADAPTERS[key].directory(out).is_dir()]
        paint = partial(_paint, out=out, counts=self.counts, seed=self.base.seed)
        for _ in with_progress(in_order(paint, todo, self.base.workers), "paint phantoms", total=len(todo)):
            pass

    def check(self, snapshot: Snapshot) -> Iterator[str]:
        """Nothing is listed, and nothing can have changed."""
        yield from ()


def _paint(key: str, out: Path, counts: PhantomCounts, seed: int) -> str:
    adapter = ADAPTERS[key]
    assert isinstance(adapter, WritableAdapter)
    with atomic_directory(adapter.directory(out)) as partial_directory:
        adapter.write(partial_directory, paint_dataset(key, counts, seed))
    return key
