"""SHA-256 digests of bytes, files, directories and JSON values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest_bytes(*parts: bytes) -> str:
    """Hex SHA-256 of the parts, each preceded by its length so that parts cannot run together."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()


def digest_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_directory(path: Path | str) -> str:
    """Hex SHA-256 over the sorted relative POSIX paths and contents of all files below ``path``."""
    root = Path(path)
    files = sorted((p.relative_to(root).as_posix(), p) for p in root.rglob("*") if p.is_file())
    return digest_bytes(*(part for name, p in files for part in (name.encode(), digest_file(p).encode())))


def digest_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
