"""Names of stored objects as paths that stay below the folder they are put in."""

from __future__ import annotations

from pathlib import PurePosixPath

from sim4seg.errors import SourceError


def safe_path(key: str) -> PurePosixPath:
    """The key as a relative path that stays where it is put.

    Raises:
        SourceError: absolute, leads upwards, or is no POSIX path.
    """
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in key or "\0" in key:
        raise SourceError(
            f"unsafe key {key!r}", where="source.snapshot.json", remedy="take a new snapshot with `sim4seg snapshot`"
        )
    return path
