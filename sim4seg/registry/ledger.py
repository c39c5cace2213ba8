"""The promotion log and the registry kept in step: what is logged is put in force, what a kill left is completed.

The registry keeps the hash of the last entry of the log that is in force (tag of the registered model). An entry is
appended first, then alias and tags are set, the hash last. So a log that is one entry ahead of the registry was
interrupted, and is completed; any other difference means that entries were cut off, or that the log is another one.
"""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sim4seg.errors import RegistryError
from sim4seg.registry import promotion_log
from sim4seg.registry.promotion_log import LogEntry
from sim4seg.registry.store import CHAMPION, Store, registry_folder
from sim4seg.registry.tags import DECISION, HEAD, MODEL_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LOG = "promotions.jsonl"
CROWNING = ("promote", "rollback")
"""Actions that make a champion."""
DECISION_LENGTH = 2000
"""Longest text of a decision tag."""


def user() -> str:
    """Who is at work, for the log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"


class Ledger:
    """The log of one registered model; the caller holds the registry lock for all but :meth:`entries`.

    Args:
        store: the registry.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.path = registry_folder(store.workspace) / LOG

    def entries(self) -> list[LogEntry]:
        """This model's entries, oldest first, compared with what the registry holds.

        Raises:
            RegistryError: the log was changed or cut, or is not the one that this registry was changed with.
        """
        mine = [entry for entry in promotion_log.read(self.path) if entry.name == self.store.name]
        self._pending(mine)
        return mine

    def champions(self) -> list[str]:
        """Every version that is or was champion, in the order of their numbers."""
        return sorted({entry.version for entry in self.entries() if entry.action in CROWNING}, key=int)

    def settle(self, *, repair: bool = False) -> LogEntry | None:
        """Complete what a kill left between the log and the registry.

        Args:
            repair: do not mind a champion alias that was moved past the log; the caller sets it.

        Returns:
            the entry that was completed; None if there was nothing to do.

        Raises:
            RegistryError: see :meth:`entries`; or the alias was moved by other means.
        """
        promotion_log.read_whole(self.path)  # mends a torn last line
        mine = self.entries()
        pending = self._pending(mine)
        if pending is not None:
            self._put_in_force(pending)
        crowned = next((entry for entry in reversed(mine) if entry.action in CROWNING), None)
        champion = self.store.alias(CHAMPION)
        if crowned is not None and champion is None:
            self.store.set_alias(CHAMPION, self.store.version(crowned.version))
        elif crowned is not None and champion is not None and str(champion.version) != crowned.version and not repair:
            raise RegistryError(
                f"the alias {CHAMPION} is at version {champion.version}, but by the promotion log version "
                f"{crowned.version} is the champion: it was moved by other means than Sim4Seg",
                where=self.store.uri,
                remedy=f"find out who moved it; `sim4seg rollback {crowned.version}` moves it back, with an entry",
            )
        return pending

    def record(
        self, action: str, version: ModelVersion, replaced: ModelVersion | None, who: str | None, why: str
    ) -> LogEntry:
        """Log, then put in force. Killed in between, :meth:`settle` of the next call completes it."""
        entry = promotion_log.append(
            self.path,
            LogEntry(
                action=action,
                name=self.store.name,
                version=str(version.version),
                replaced=str(replaced.version) if replaced else None,
                digest=str(version.tags[MODEL_DIGEST]),
                who=who or user(),
                when=datetime.now(UTC).isoformat(timespec="seconds"),
                why=why,
            ),
        )
        self._put_in_force(entry)
        return entry

    def _put_in_force(self, entry: LogEntry) -> None:
        version = self.store.version(entry.version)
        if entry.action in CROWNING:
            self.store.set_alias(CHAMPION, version)
        if entry.action != "rollback":
            verb = "promoted" if entry.action == "promote" else "declined"
            self.store.set_tag(version, DECISION, f"{verb} by {entry.who}: {entry.why}"[:DECISION_LENGTH])
        self.store.set_head(entry.hash)

    def _pending(self, mine: list[LogEntry]) -> LogEntry | None:
        """The last entry if it is not in force yet."""
        head, hashes = self.store.head(), [entry.hash for entry in mine]
        known = hashes.index(head) + 1 if head in hashes else 0
        if (head is None or known) and len(mine) - known <= 1:
            return mine[-1] if len(mine) > known else None
        where, name = str(self.path), self.store.name
        remedy = (
            "restore the file from a backup, or copy it from the machine that made the last change (or let all use one "
            "folder, SIM4SEG_REGISTRY_DIR); do not promote until it is known what happened"
        )
        if head is None or known:
            raise RegistryError(
                f"the promotion log has {len(mine) - known} entries of {name} that the registry {self.store.uri} does "
                f"not know (tag {HEAD}); an interruption leaves one at most",
                where=where,
                remedy="check MLFLOW_TRACKING_URI: is this the registry of this log? " + remedy,
            )
        raise RegistryError(
            f"the promotion log is not whole: the registry's last change of {name} is entry {head[:12]}, and the log "
            f"of {len(mine)} entries does not have it. Entries were cut off, or another log was written to since",
            where=where,
            remedy=remedy,
        )


def log_path(workspace: Path) -> Path:
    """Where the promotion log is."""
    return registry_folder(workspace) / LOG
