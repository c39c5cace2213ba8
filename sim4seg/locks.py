"""Lock files: one process at a time. The kernel gives a lock back when its process ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class LockAttempt:
    """What came of trying to take a lock.

    Attributes:
        acquired: whether this process has it now.
        holder: who has it (``acquired`` False), or who had it last and did not give it back because its process died
            (``acquired`` True). Empty = nobody, or somebody who gave no name.
    """

    acquired: bool
    holder: str


def _lock(file: Path) -> FileLock:
    """Without flock a lock would outlive its process, so that file systems without it are refused."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file, fallback_to_soft=False)


@contextmanager
def wait_for_lock(file: Path) -> Iterator[None]:
    """Hold a lock to the end of the block, after waiting for whoever has it."""
    with _lock(file):
        yield


@contextmanager
def try_lock(file: Path, holder: str = "") -> Iterator[LockAttempt]:
    """Hold a lock to the end of the block if it is free; the block runs either way, and is told.

    The holder's name lies in the lock file. It is taken out when the block ends well; what is there when the lock is
    free is the name of one that died.

    Args:
        holder: a name for others to read.
    """
    try:
        lock = _lock(file).acquire(blocking=False)
    except Timeout:
        yield LockAttempt(False, _read(file))
        return
    with lock:
        left_behind = _read(file)
        _write(file, holder)
        yield LockAttempt(True, left_behind)
        _write(file, "")


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()


def _write(file: Path, text: str) -> None:
    """In place: a file put in its stead would not be the locked one."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    finally:
        os.close(descriptor)
