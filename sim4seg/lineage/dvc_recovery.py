"""Files that DVC writes in place: a DVC that is killed can leave them half written, and no later one starts.

A dvc.lock that can be read is kept beside DVC's temporary files before each start: what there was before the kill.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from sim4seg.atomic import write_text
from sim4seg.git import file_at

LOCK = Path("dvc.lock")
TEMPORARY = Path(".dvc/tmp")
KEPT = TEMPORARY / "dvc.lock.kept"


def mend_torn(folder: Path) -> list[str]:
    """Make DVC start again in a project where one was killed; to be called before each start.

    Args:
        folder: the project.

    Returns:
        What was done, in words, a line for each file.
    """
    mended = [done for done in (clear_torn_record(folder), restore_torn_lock(folder)) if done]
    _keep(folder)
    return mended


def clear_torn_record(folder: Path) -> str:
    """Remove DVC's record of who reads and writes what, if it cannot be read.

    Args:
        folder: the project.

    Returns:
        What was done, in words; empty = nothing.
    """
    return _mended(folder, TEMPORARY / "rwlock", "rwlock.lock", json.loads, _remove)


def restore_torn_lock(folder: Path) -> str:
    """Put back the dvc.lock of before the last start if the one at hand cannot be read, else the committed one.

    Where there is neither it is removed. Stages that it does not know are looked up in DVC's run cache or run again.

    Args:
        folder: the project.

    Returns:
        What was done, in words; empty = nothing.
    """
    return _mended(folder, LOCK, "lock", _check_lock, _put_back)


def _mended(folder: Path, name: Path, guard: str, check: Callable[[str], object], mend: Callable[[Path], str]) -> str:
    """Mend a file that ``check`` raises ValueError for, unless another DVC is writing it right now."""
    file = folder / name
    if _is_whole(file, check):
        return ""
    with _guard(folder, guard) as acquired:
        if not acquired or _is_whole(file, check):
            return ""
        return f"{file}: left half written by a DVC that was killed; {mend(file)}"


def _is_whole(file: Path, check: Callable[[str], object]) -> bool:
    """Whether the file can be read; one that is not there needs no mending."""
    try:
        check(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:  # undecodable bytes too
        return False
    return True


def _check_lock(text: str) -> None:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    # A text that breaks off can be YAML still; DVC's own ends with a line.
    if not isinstance(content, dict) or "schema" not in content or not text.endswith("\n"):
        raise ValueError("not a complete dvc.lock")


def _keep(folder: Path) -> None:
    """Keep the dvc.lock of this moment for :func:`restore_torn_lock`, unless one is being written."""
    copy, lock = folder / KEPT, folder / LOCK
    try:
        text = lock.read_text(encoding="utf-8")
        # Mostly it is there already, and reading it as YAML is the costly part.
        if not copy.parent.is_dir() or (copy.is_file() and copy.read_text(encoding="utf-8") == text):
            return
        _check_lock(text)
    except (FileNotFoundError, ValueError):
        return
    write_text(copy, text)


def _remove(file: Path) -> str:
    file.unlink()
    return "removed"


def _put_back(lock: Path) -> str:
    copy = lock.parent / KEPT
    if copy.is_file():
        write_text(lock, copy.read_text(encoding="utf-8"))
        return "the one of before the last start is back"
    committed = file_at(lock.parent, "HEAD", lock.name)
    if committed is None:
        return f"none is committed; {_remove(lock)}"
    write_text(lock, committed.decode())
    return "the committed one is back"


@contextmanager
def _guard(folder: Path, name: str) -> Iterator[bool]:
    """Hold one of DVC's own locks; False if another DVC holds it, or there is no DVC in this folder."""
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
