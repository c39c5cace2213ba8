"""Atomic writes: readers see the old output or the whole new one, never a part.

Everything is written to a sibling temporary path, flushed to the disk, then renamed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sim4seg.errors import Sim4SegError


def _fsync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(partial: Path) -> None:
    for file in sorted(p for p in partial.rglob("*") if p.is_file()) if partial.is_dir() else [partial]:
        _fsync_path(file)


def _commit(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``; a directory that is in the way is moved aside first."""
    old = path.with_name(f".{path.name}.old")
    _remove(old)
    aside = path.is_dir() and not path.is_symlink()
    if aside:
        path.rename(old)
    try:
        os.replace(partial, path)
    except OSError:
        if aside:
            old.rename(path)
        raise
    _remove(old)
    _fsync_path(path.parent)


def _reason(error: OSError) -> str:
    """The system's words; shutil gathers one reason a file, of which the first will do."""
    listed = error.args[0] if isinstance(error, shutil.Error) and error.args else None
    return str(listed[0][2] if listed else error.strerror or error)


def _is_of(error: OSError, partial: Path) -> bool:
    """Whether an error comes from writing ``partial``, as far as it says: a number, and no other file's name."""
    if isinstance(error, shutil.Error):
        return True
    if error.errno is None or not isinstance(error.filename, str | bytes):
        return error.errno is not None
    named, own = Path(os.fsdecode(error.filename)).absolute(), partial.absolute()
    return named.is_relative_to(own) or own.is_relative_to(named)


@contextmanager
def _partial(path: Path, *, directory: bool) -> Iterator[Path]:
    partial = _sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        if directory:
            partial.mkdir()
        yield partial
        _flush(partial)
        _commit(partial, path)
    except OSError as error:
        with suppress(OSError):
            _remove(partial)
        if not _is_of(error, partial):
            raise  # a decoder that met a damaged file, or a file elsewhere that cannot be read: the disk is well
        raise Sim4SegError(
            f"could not write the output: {_reason(error)}",
            where=str(path),
            remedy="free disk space or fix permissions there, then run the same command again; "
            "the earlier output, if there was one, is untouched",
        ) from error
    except BaseException:
        _remove(partial)
        raise


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield an empty directory that becomes ``path`` when the block ends without an error.

    Raises:
        Sim4SegError: the file system refused (full, read-only); ``path`` is left as it was.
    """
    with _partial(Path(path), directory=True) as partial:
        yield partial


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a path to write; it becomes ``path`` when the block ends without an error.

    Raises:
        Sim4SegError: the file system refused (full, read-only); ``path`` is left as it was.
    """
    with _partial(Path(path), directory=False) as partial:
        yield partial


def move_directory(source: Path, path: Path) -> None:
    """Make ``source`` become ``path`` in one step, also where they lie on different disks.

    Raises:
        Sim4SegError: the file system refused (full, read-only); ``source`` is left as it was.
    """
    partial = _sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        try:
            source.rename(partial)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copytree(source, partial)
        _flush(partial)
        _commit(partial, path)
    except OSError as error:
        with suppress(OSError):
            if source.exists():
                _remove(partial)
            else:
                partial.rename(source)
        raise Sim4SegError(
            f"could not move the output into place: {_reason(error)}",
            where=f"{source} -> {path}",
            remedy="free disk space or fix permissions there, then run the same command again",
        ) from error
    shutil.rmtree(source, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` (UTF-8) atomically."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as JSON with sorted keys, atomically; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")
