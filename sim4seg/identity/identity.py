"""The identity of a result: everything that decides its bytes, part by part, so that a difference has a name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sim4seg.atomic import write_json
from sim4seg.digest import digest_file, digest_json
from sim4seg.identity.libraries import library_versions
from sim4seg.identity.source_graph import ROOT, sources_of


@dataclass(frozen=True)
class Identity:
    """What decides a result; the same on every machine, in every folder, in whatever state git is.

    Attributes:
        code: source file to its SHA-256.
        libraries: distribution to its version.
        settings: dotted key to its value.
        data: what was read, by name, to its SHA-256.
    """

    code: Mapping[str, str]
    libraries: Mapping[str, str]
    settings: Mapping[str, Any]
    data: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of all parts."""
        return digest_json(asdict(self))

    def differences(self, other: Identity) -> list[str]:
        """One line a part in which ``other`` is not this one, in this one's view: before -> now."""
        return [
            *(f"code of {name} {how}" for name, how in _changes(other.code, self.code, values=False)),
            *(f"{name} {how}" for name, how in _changes(other.libraries, self.libraries)),
            *(f"{name} {how}" for name, how in _changes(other.settings, self.settings)),
            *(f"data: {name} {how}" for name, how in _changes(other.data, self.data, values=False)),
        ]

    def write(self, file: Path) -> None:
        """Store it as JSON."""
        write_json(file, asdict(self))

    @classmethod
    def read(cls, file: Path) -> Identity | None:
        """A stored identity; None if there is none, or not a whole one."""
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
            return cls(**{name: dict(value[name]) for name in ("code", "libraries", "settings", "data")})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], *, values: bool = True) -> Iterator[tuple[str, str]]:
    """Name and kind of each difference; the values themselves only where a reader can make something of them."""
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            yield name, "was removed"
        elif name not in before:
            yield name, "was added"
        elif before[name] != now[name]:
            yield name, f"{before[name]} -> {now[name]}" if values else "changed"


def identity_of(module: str, settings: Mapping[str, Any], data: Mapping[str, str], root: Path = ROOT) -> Identity:
    """The identity of what a module makes of settings and data.

    Args:
        module: whose code does the work, with all that it imports; dotted name.
        settings: by section or key, as JSON values; nested ones are told apart key by key.
        data: digests of what is read.
        root: folder that holds the packages.
    """
    code = {name: digest_file(root / name) for name in sources_of(module, root)}
    return Identity(code, library_versions(), dict(_flat(settings)), dict(data))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
