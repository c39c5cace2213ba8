"""JSON files of a checkpoint, which may come from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sim4seg.errors import ModelError

LARGEST = 64 * 2**20
"""Bytes; the index of the largest published checkpoints is below 1 MB, a tokenizer's JSON below 20 MB."""


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: no such file, larger than :data:`LARGEST`, or not a JSON object.
    """
    if not path.is_file():
        raise ModelError(f"no {path.name}", where=str(path.parent), remedy="give the complete folder as published")
    if path.stat().st_size > LARGEST:
        raise ModelError(
            f"{path.name} has {path.stat().st_size:,} bytes; more than {LARGEST:,} are not read",
            where=str(path),
            remedy="check where it comes from",
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"not JSON: {error}", where=str(path), remedy="download the file again") from error
    if not isinstance(value, dict):
        raise ModelError("a JSON object is expected", where=str(path), remedy="download the file again")
    return value
