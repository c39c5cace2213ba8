"""Files that DVC writes in place: a DVC that is killed can leave them half written, and no later one starts.

DVC's own guard is held meanwhile, so that a file which is being written right now is left alone.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from sim4seg.atomic import write_text

LOCK = Path("dvc.lock")
TEMPORARY = Path(".dvc/tmp")


def clear_torn_record(folder: Path = Path()) -> str:
    """Remove DVC's record of who reads and writes what, if it cannot be read.

    Args:
        folder: the project.

    Returns:
        What was done, in words; empty = nothing.
    """
    record = folder / TEMPORARY / "rwlock"
    with _guard(folder, "rwlock.lock") as held:
        if not held or not record.is_file():
            return ""
        try:
            json.loads(record.read_bytes())
        except ValueError:
            record.unlink()
            return f"{record}: left half written by a DVC that was killed; removed"
    return ""


def restore_torn_lock(folder: Path = Path()) -> str:
    """Put back the committed dvc.lock if the one at hand cannot be read, or remove it where none is committed.

    Stages done since that commit are looked up in DVC's run cache or run again.

    Args:
        folder: the project.

    Returns:
        What was done, in words; empty = nothing.
    """
    lock = folder / LOCK
    with _guard(folder, "lock") as held:
        if not held or not lock.is_file() or _readable(lock):
            return ""
        show = ["git", "show", f"HEAD:./{LOCK}"]
        committed = subprocess.run(show, cwd=folder, capture_output=True, text=True, check=False)
        if committed.returncode == 0:
            write_text(lock, committed.stdout)
            return f"{lock}: left half written by a DVC that was killed; the committed one is back"
        lock.unlink()
    return f"{lock}: left half written by a DVC that was killed, and none is committed; removed"


@contextmanager
def _guard(folder: Path, name: str) -> Iterator[bool]:
    """Hold one of DVC's locks; False if another DVC holds it, or there is no DVC in this folder."""
    from dvc.lock import LockError, make_lock

    temporary = folder / TEMPORARY
    guard = make_lock(str(temporary / name), tmp_dir=str(temporary))
    try:
        if temporary.is_dir():
            guard.lock()
    except LockError:
        pass
    try:
        yield bool(guard.is_locked)
    finally:
        if guard.is_locked:
            guard.unlock()


def _readable(lock: Path) -> bool:
    try:
        found = yaml.safe_load(lock.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and "schema" in found
