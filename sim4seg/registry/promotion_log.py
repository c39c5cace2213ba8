"""The promotion log: one JSON line an event, each bound to the one before by its SHA-256."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sim4seg.digest import digest_json
from sim4seg.errors import RegistryError

FIRST = "0" * 64
"""What the first entry has as ``previous_hash``."""


@dataclass(frozen=True)
class LogEntry:
    """One event.

    Attributes:
        action: "promote", "rollback" or "decline".
        name: registered model.
        version: the champion from now on; of "decline" the version that does not become champion.
        replaced: the champion before; None if there was none, and for "decline".
        digest: of the model directory.
        who: user name.
        when: UTC, ISO 8601.
        why: the evidence in words.
        previous_hash: ``hash`` of the entry before.
        hash: SHA-256 of all the other fields.
    """

    action: str
    name: str
    version: str
    replaced: str | None
    digest: str
    who: str
    when: str
    why: str
    previous_hash: str = FIRST
    hash: str = ""


def _hash(entry: LogEntry) -> str:
    return digest_json({key: value for key, value in asdict(entry).items() if key != "hash"})


def _tampered(path: Path, line: int, what: str) -> RegistryError:
    return RegistryError(
        f"the promotion log was changed after it was written: {what}",
        where=f"{path}, line {line}",
        remedy="restore the file from a backup; do not promote until it is known who changed it",
    )


def _entries(path: Path) -> Iterator[LogEntry]:
    previous = FIRST
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = LogEntry(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise _tampered(path, number, "not an entry of this log") from error
        if entry.previous_hash != previous:
            raise _tampered(path, number, "the entry does not follow the one before it")
        if entry.hash != _hash(entry):
            raise _tampered(path, number, "its fields do not have the hash it carries")
        previous = entry.hash
        yield entry


def _drop_torn_line(path: Path) -> None:
    """Cut what a killed or full-disk append left after the last whole line; it was never in force."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(path, whole)


def read(path: Path) -> list[LogEntry]:
    """The verified log, oldest first; empty if there is none.

    Raises:
        RegistryError: an entry was changed, removed from the middle, reordered or inserted. (Entries cut off at the
            end leave a valid shorter log, which :mod:`sim4seg.registry.ledger` tells by the registry's own record.)
    """
    if not path.is_file():
        return []
    return list(_entries(path))


def read_whole(path: Path) -> list[LogEntry]:
    """As :func:`read`, after mending a torn last line; the caller holds the registry lock."""
    if path.is_file():
        _drop_torn_line(path)
    return read(path)


def append(path: Path, entry: LogEntry) -> LogEntry:
    """Verify the log, bind ``entry`` to its end, write it through to the disk; the caller holds the registry lock.

    Raises:
        RegistryError: the log was changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = read_whole(path)
    fields = asdict(entry) | {"previous_hash": before[-1].hash if before else FIRST, "hash": ""}
    bound = LogEntry(**fields)
    bound = LogEntry(**(fields | {"hash": _hash(bound)}))
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(bound), sort_keys=True, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return bound
