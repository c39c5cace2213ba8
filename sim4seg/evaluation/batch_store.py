"""What an interrupted evaluation has already scored, kept batch by batch so that a rerun goes on from there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import pyarrow as pa

from sim4seg.evaluation.cases import Case, read_cases, write_cases


class BatchStore:
    """Scored batches in ``<work>/evaluate-<identity>/``.

    Args:
        work: folder for unfinished work, outside DVC's outputs (DVC deletes those before a stage runs).
        identity: digest of the identity of the result; what another one left is not used.
    """

    def __init__(self, work: Path, identity: str) -> None:
        self.folder = work / f"evaluate-{identity[:16]}"

    def part(self, name: str) -> BatchStore:
        """A store of its own within this one, discarded with it."""
        inner = copy(self)
        inner.folder = self.folder / name
        return inner

    def _file(self, index: int) -> Path:
        return self.folder / f"batch-{index:05d}.parquet"

    def load(self, index: int) -> list[Case] | None:
        """The batch's cases; None if it was not finished or its file is unreadable, so that it is scored again."""
        try:
            return read_cases(self._file(index))
        except (OSError, pa.ArrowInvalid):
            return None

    def save(self, index: int, cases: Sequence[Case]) -> None:
        """Keep a finished batch; atomic, so a kill leaves it whole or absent."""
        write_cases(self._file(index), cases)

    def discard(self) -> None:
        """Remove the folder, once the outputs are written."""
        shutil.rmtree(self.folder, ignore_errors=True)
