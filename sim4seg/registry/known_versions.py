"""Which version was made from a snapshot, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sim4seg.config.register import Register
from sim4seg.registry.assessment import chosen
from sim4seg.registry.store import Store, is_missing
from sim4seg.registry.tags import DECISION, MODEL_DIGEST, SNAPSHOT_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class KnownVersion:
    """A registered version.

    Attributes:
        number: of the version.
        decision: starts with promoted, refused or declined; "" = nobody decided yet.
        digest: SHA-256 of its model directory.
        snapshot: digest of the snapshot it was made from.
    """

    number: int
    decision: str
    digest: str
    snapshot: str


def _known(version: ModelVersion) -> KnownVersion:
    tags = dict(version.tags)
    return KnownVersion(
        number=int(version.version),
        decision=str(tags.get(DECISION, "")),
        digest=str(tags.get(MODEL_DIGEST, "")),
        snapshot=str(tags.get(SNAPSHOT_DIGEST, "")),
    )


def versions_of_snapshot(params: Register, snapshot: str, workspace: Path = Path()) -> list[KnownVersion]:
    """The versions made from the snapshot of that digest, oldest first; empty also if there is no registry yet.

    Args:
        snapshot: of :func:`sim4seg.data.snapshot.snapshot_digest`.
    """
    if is_missing(workspace):
        return []
    return [_known(version) for version in Store(params.name, workspace).tagged(SNAPSHOT_DIGEST, snapshot)]


def newest_of_snapshot(params: Register, snapshot: str, workspace: Path = Path()) -> KnownVersion | None:
    """The newest of :func:`versions_of_snapshot`."""
    versions = versions_of_snapshot(params, snapshot, workspace)
    return versions[-1] if versions else None


def decision(params: Register, version: int | str | None = None, workspace: Path = Path()) -> str:
    """What became of a version (None = the candidate): see :attr:`KnownVersion.decision`.

    Raises:
        RegistryError: there is no such version.
    """
    return _known(chosen(Store(params.name, workspace), version)).decision
