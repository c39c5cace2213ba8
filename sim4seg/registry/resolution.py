"""From the name of a model to a folder with its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sim4seg.digest import digest_directory
from sim4seg.errors import RegistryError
from sim4seg.registry.evidence import PARAMS, recorded
from sim4seg.registry.store import CANDIDATE, CHAMPION, EVIDENCE, Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_URI = re.compile(r"models:/(?P<name>[A-Za-z0-9_.-]+)(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<version>[0-9]+))")


@dataclass(frozen=True)
class Registered:
    """A registered version in its store.

    Attributes:
        store, version: the registry, and its own record of the version.
    """

    store: Store
    version: ModelVersion

    @property
    def name(self) -> str:
        """Of the registered model."""
        return self.store.name

    @property
    def number(self) -> str:
        """Of the version."""
        return str(self.version.version)

    @property
    def tags(self) -> Mapping[str, str]:
        """What it was registered with."""
        return dict(self.version.tags)

    def weights(self) -> Path:
        """See :meth:`Store.weights`."""
        return self.store.weights(self.version)

    def evidence(self) -> Path:
        """Local folder of its evidence files."""
        return self.store.evidence(self.version, "")

    def artifact(self, path: str) -> Path:
        """See :meth:`Store.artifact`."""
        return self.store.artifact(self.version, path)


def version_named(uri: str, workspace: Path = Path()) -> Registered:
    """The version that ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` names.

    Raises:
        RegistryError: nothing of that name.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise RegistryError(
            f"cannot read {uri!r} as a registered model",
            remedy="give models:/NAME@champion, models:/NAME@candidate or models:/NAME/VERSION",
        )
    store = Store(match["name"], workspace)
    if match["version"]:
        return Registered(store, store.version(match["version"]))
    version = store.alias(match["alias"])
    if version is None:
        raise RegistryError(
            f"{match['name']} has no {match['alias']} yet",
            where=store.uri,
            remedy={
                CHAMPION: "promote a version: `sim4seg promote`",
                CANDIDATE: "register one: `dvc repro register`",
            }.get(match["alias"], f"use @{CHAMPION} or @{CANDIDATE}"),
        )
    return Registered(store, version)


def resolve(uri: str | Path, workspace: Path = Path()) -> tuple[Path, str]:
    """The local model directory that ``uri`` names, and its version label.

    Args:
        uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``s3://BUCKET/PREFIX/champion`` or a folder.
        workspace: project folder, for the local registry.

    Returns:
        The directory, and "NAME/VERSION", or "sha256:" and 12 digits for a folder that is not registered.

    Raises:
        RegistryError: nothing of that name, or the stored files are not those that were registered.
    """
    text = str(uri)
    if text.startswith("s3:/"):
        from sim4seg.registry.export import fetch_exported

        return fetch_exported(text, workspace)
    if not text.startswith("models:"):
        folder = Path(uri)
        if not folder.is_dir():
            raise RegistryError("there is no such model folder", where=text, remedy="check the path")
        return folder, f"sha256:{digest_directory(folder)[:12]}"
    registered = version_named(text, workspace)
    return registered.weights(), f"{registered.name}/{registered.number}"


def params_beside(uri: str | Path, folder: Path, workspace: Path = Path()) -> Path | None:
    """The params.yaml that a model came with: its version's own, or for a plain folder the workspace's.

    Args:
        uri, workspace: as for :func:`resolve`.
        folder: what :func:`resolve` gave for them.

    Returns:
        None if there is none: a plain folder outside a project, or a version from before evidence was kept.
    """
    text = str(uri)
    if text.startswith("models:"):
        registered = version_named(text, workspace)
        return registered.store.evidence(registered.version, PARAMS) if PARAMS in recorded(registered.version) else None
    file = folder.parent / EVIDENCE / PARAMS if text.startswith("s3:/") else workspace / PARAMS
    return file if file.is_file() else None
