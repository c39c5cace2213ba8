"""The source snapshot: a small committed file that says what the raw data were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sim4seg.atomic import write_json
from sim4seg.digest import digest_json
from sim4seg.errors import SourceError


class LocalObject(BaseModel):
    """One object of the source: POSIX key relative to its root, size in bytes, SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class S3Object(BaseModel):
    """One object of a bucket: key relative to the prefix, size in bytes, ETag, version id where versions are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    size: Annotated[int, Field(ge=0)]
    etag: Annotated[str, Field(min_length=1)]
    version: str | None = None


class Snapshot(BaseModel):
    """What was in the source when the snapshot was taken; phantoms are made from params and list nothing.

    Attributes:
        kind: of the source.
        root: ``s3://bucket/prefix/`` for S3, where it is part of what the data were; None for the other kinds.
        objects: sorted by key in the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["phantoms", "local", "s3"]
    root: str | None = None
    objects: tuple[LocalObject | S3Object, ...] = ()

    @model_validator(mode="after")
    def _objects_fit_the_kind(self) -> Snapshot:
        fitting = {"phantoms": (), "local": (LocalObject,), "s3": (S3Object,)}[self.kind]
        wrong = [entry.key for entry in self.objects if not isinstance(entry, fitting)]
        if wrong or (self.root is None) == (self.kind == "s3"):
            raise ValueError(f"not a snapshot of kind {self.kind}: root {self.root!r}, objects such as {wrong[:3]}")
        return self


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


def _content(snapshot: Snapshot) -> dict[str, Any]:
    """As JSON, objects sorted by key."""
    entries = (entry.model_dump(exclude_none=True) for entry in snapshot.objects)
    ordered = sorted(entries, key=lambda entry: entry["key"])
    root = {"root": snapshot.root} if snapshot.root else {}
    return {"kind": snapshot.kind, **root, **({"objects": ordered} if ordered else {})}


def snapshot_digest(snapshot: Snapshot) -> str:
    """Hex SHA-256 of what a snapshot says, whatever the order and layout of the file."""
    return digest_json(_content(snapshot))


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot atomically, objects sorted by key."""
    write_json(path, _content(snapshot))
