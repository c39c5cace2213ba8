"""The source snapshot: a small committed file that says what the raw data were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim4seg.atomic import write_json
from sim4seg.errors import SourceError


class Entry(BaseModel):
    """One object of the source: POSIX key relative to its root, size in bytes, SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Snapshot(BaseModel):
    """What was in the source when the snapshot was taken; phantoms are made from params and list nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["phantoms", "local", "s3"]
    objects: tuple[Entry, ...] = ()


def read_snapshot(path: Path) -> Snapshot:
    """Read and check a snapshot file.

    Raises:
        SourceError: it is missing or damaged.
    """
    remedy = "run `sim4seg snapshot` and commit the file it writes"
    try:
        return Snapshot.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SourceError(f"no source snapshot: {error.strerror}", where=str(path), remedy=remedy) from error
    except (ValueError, ValidationError) as error:
        raise SourceError(f"the source snapshot is damaged: {error}", where=str(path), remedy=remedy) from error


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot atomically, objects sorted by key."""
    ordered = sorted((entry.model_dump() for entry in snapshot.objects), key=lambda entry: entry["key"])
    write_json(path, {"kind": snapshot.kind, **({"objects": ordered} if ordered else {})})
