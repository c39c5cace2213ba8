"""dvc.lock: what every stage was given and what came out, by digest; and those digests computed anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError
from pathlib import Path
from typing import Any

from sim4seg.errors import Sim4SegError
from sim4seg.lineage.dvc_graph import graph_of

IGNORED = ("__pycache__", ".venv")
"""Folders that .dvcignore keeps out of a digest; also files ``*.pyc``, ``.*.partial`` and ``.*.old``."""


class LineageError(Sim4SegError):
    """What made a version cannot be read, or made again."""


@dataclass(frozen=True)
class Stage:
    """One stage as DVC recorded it.

    Attributes:
        cmd: its command.
        deps, outs: MD5 by path; that of a folder ends in ``.dir``.
        params: what it was given of params.yaml, by dotted key.
    """

    cmd: str
    deps: Mapping[str, str]
    outs: Mapping[str, str]
    params: Mapping[str, Any]


Lock = Mapping[str, Stage]
"""Stages by name, in the order in which they run."""


def _digests(items: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {str(item["path"]): str(item["md5"]) for item in items}


def _stage(entry: Mapping[str, Any]) -> Stage:
    return Stage(
        cmd=str(entry["cmd"]),
        deps=_digests(entry.get("deps", [])),
        outs=_digests(entry.get("outs", [])),
        params=dict(entry.get("params", {}).get("params.yaml", {})),
    )


def read_yaml(data: bytes, where: str) -> Any:
    """YAML as DVC reads and writes it, version 1.2: ``off`` is a word there, and false to PyYAML.

    Raises:
        LineageError: it is none.
    """
    from dvc.utils.serialize import ParseError, parse_yaml

    try:
        return parse_yaml(data.decode(), where)
    except (ParseError, UnicodeDecodeError) as error:
        raise LineageError(f"not YAML: {error}", where=where, remedy="restore the file from a backup") from error


def parse_lock(data: bytes, where: str) -> Lock:
    """Read dvc.lock.

    Raises:
        LineageError: it is not one.
    """
    try:
        stages = read_yaml(data, where)["stages"]
        recorded = {str(name): _stage(entry) for name, entry in stages.items()}
        return {name: recorded[name] for name in graph_of(recorded)}
    except (KeyError, TypeError, AttributeError, CycleError) as error:
        raise LineageError(
            f"not a dvc.lock that can be read: {type(error).__name__} {error}",
            where=where,
            remedy="restore the file from git or a backup",
        ) from error


def md5_bytes(data: bytes) -> str:
    """Hex MD5; DVC's digest, not a protection."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_file(path: Path) -> str:
    """Hex MD5 of a file's bytes, read in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def listing(files: Mapping[str, str]) -> bytes:
    """What DVC 3 stores for a folder: JSON of the files' MD5 and relative POSIX paths, sorted by path."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return json.dumps(entries, sort_keys=True).encode()


def files_below(folder: Path) -> dict[str, str]:
    """MD5 of every file that DVC counts below ``folder``, by relative POSIX path."""
    return {
        path.relative_to(folder).as_posix(): md5_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part in IGNORED for part in path.parts[len(folder.parts) :])
        and path.suffix != ".pyc"
        and not (path.name.startswith(".") and path.suffix in (".partial", ".old"))
    }


def dvc_digest(path: Path) -> str | None:
    """What dvc.lock would say of a file or folder; None if it is not there."""
    if path.is_dir():
        return f"{md5_bytes(listing(files_below(path)))}.dir"
    return md5_file(path) if path.is_file() else None
