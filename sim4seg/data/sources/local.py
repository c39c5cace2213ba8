"""Raw data in a folder of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sim4seg.data.adapters import ADAPTERS
from sim4seg.data.snapshot import LocalObject, Snapshot
from sim4seg.digest import digest_file
from sim4seg.errors import SourceError
from sim4seg.progress import with_progress
from sim4seg.safe_path import safe_path


class LocalSource:
    """The sub-datasets' folders below ``root``; only folders that an adapter knows are taken."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def take_snapshot(self) -> Snapshot:
        """List every file of every known dataset with size and SHA-256.

        Raises:
            SourceError: no folder there, or no known dataset in it.
        """
        folders = [a.directory(self.root) for a in ADAPTERS.values() if a.found(self.root)]
        files = sorted({f for folder in folders for f in folder.rglob("*") if f.is_file() and not f.is_symlink()})
        if not files:
            names = ", ".join(sorted(a.folder for a in ADAPTERS.values()))
            raise SourceError(
                "the source is empty: no dataset folder with files in it",
                where=str(self.root),
                remedy=f"put at least one of these folders there: {names}; or set fetch.root or SIM4SEG_SOURCE_ROOT",
            )
        entries = [
            LocalObject(key=f.relative_to(self.root).as_posix(), size=f.stat().st_size, sha256=digest_file(f))
            for f in with_progress(files, "snapshot")
        ]
        return Snapshot(kind="local", objects=tuple(entries))

    def fetch(self, snapshot: Snapshot, out: Path) -> None:
        """Copy the snapshot's files and check each; a file that is already there and right is not copied again.

        Raises:
            SourceError: an unsafe key, a file that is missing or no longer what it was.
        """
        entries = [entry for entry in snapshot.objects if isinstance(entry, LocalObject)]
        for entry in with_progress(entries, "fetch", total=len(entries)):
            target = out / safe_path(entry.key)
            if not _holds(target, entry):
                self._copy(entry, target)

    def check(self, snapshot: Snapshot) -> Iterator[str]:
        """One line for each file that is missing or no longer what it was.

        Raises:
            SourceError: an unsafe key, or no folder there.
        """
        if not self.root.is_dir():
            raise SourceError("no such folder", where=str(self.root), remedy="set SIM4SEG_SOURCE_ROOT")
        entries = [entry for entry in snapshot.objects if isinstance(entry, LocalObject)]
        for entry in with_progress(entries, "check", total=len(entries)):
            file = self.root / safe_path(entry.key)
            if not _holds(file, entry):
                yield f"{entry.key} {'has changed' if file.is_file() else 'is missing'}"

    def _copy(self, entry: LocalObject, target: Path) -> None:
        source = self.root / safe_path(entry.key)
        remedy = "restore the file, or take a new snapshot with `sim4seg snapshot` and commit it"
        if not source.resolve().is_relative_to(self.root.resolve()):
            what = "the file is a link to a place outside the source folder"
            raise SourceError(what, where=str(source), remedy="put the file itself there")
        if not source.is_file():
            raise SourceError("a file of the snapshot is missing", where=str(source), remedy=remedy)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise SourceError(
                f"could not copy: {error.strerror}", where=f"{source} -> {target}", remedy="free space or fix rights"
            ) from error
        if not _holds(target, entry):
            target.unlink()
            raise SourceError("a file has changed since the snapshot", where=str(source), remedy=remedy)


def _holds(file: Path, entry: LocalObject) -> bool:
    return file.is_file() and file.stat().st_size == entry.size and digest_file(file) == entry.sha256
