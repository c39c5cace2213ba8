"""What a registered version carries of its past: tags, and the files that it was made from and by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from sim4seg.config.params import load_params
from sim4seg.lineage.dvc_lock import LineageError, Lock, parse_lock, read_yaml
from sim4seg.registry.resolution import Registered, version_named

LOCK, PARAMS, SNAPSHOT = "dvc.lock", "params.yaml", "source.snapshot.json"
RESTORED = (PARAMS, SNAPSHOT, LOCK)
"""The evidence files that decide, with the code, what a version is."""
CHANGES = "+changes"
COMMIT = "sim4seg.git_commit"


@dataclass(frozen=True)
class Evidence:
    """One version's past.

    Attributes:
        registered: the version.
        folder: its evidence files.
    """

    registered: Registered
    folder: Path

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.registered.name} version {self.registered.number}"

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """The version's tags."""
        return self.registered.tags

    @property
    def commit(self) -> str | None:
        """The git commit it was made from; None if it was not made under git."""
        commit = self.tags.get(COMMIT, "none").removesuffix(CHANGES)
        return None if commit == "none" else commit

    @property
    def dirty(self) -> bool:
        """Whether tracked files differed from the commit when it was registered."""
        return self.tags.get(COMMIT, "").endswith(CHANGES)

    def read(self, name: str) -> bytes:
        """An evidence file's bytes.

        Raises:
            LineageError: the version does not carry it.
        """
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise LineageError(
                f"{self.label} carries no {name}",
                where=str(self.folder),
                remedy="restore it from a backup of the registry's artifacts; a version that was registered without "
                "this file cannot be traced",
            ) from error

    @cached_property
    def lock(self) -> Lock:
        """Its dvc.lock."""
        return parse_lock(self.read(LOCK), str(self.folder / LOCK))

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """Its params.yaml as DVC read it, unchecked: a later version of the code may know other keys.

        Raises:
            LineageError: not YAML.
        """
        values = read_yaml(self.read(PARAMS), str(self.folder / PARAMS))
        return dict(values) if isinstance(values, Mapping) else {}

    def packages(self) -> dict[str, str]:
        """Versions of Python and of the packages it was made with, as recorded."""
        text = self.registered.artifact("model/requirements.txt").read_text(encoding="utf-8")
        pairs = (line.split("==") for line in text.splitlines() if "==" in line)
        versions = {name.strip(): number.strip() for name, number in pairs}
        python = yaml.safe_load(self.registered.artifact("model/python_env.yaml").read_text(encoding="utf-8"))
        return {"python": str(python["python"]), **versions}


def read_evidence(version: str, workspace: Path) -> Evidence:
    """A version's past.

    Args:
        version: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, or the version's number alone.
        workspace: project folder, whose params.yaml names the model for a number alone.

    Raises:
        RegistryError: nothing of that name, or the store failed.
    """
    if version.isdecimal():
        version = f"models:/{load_params(workspace / PARAMS).register_.name}/{version}"
    registered = version_named(version, workspace)
    return Evidence(registered, registered.evidence())
