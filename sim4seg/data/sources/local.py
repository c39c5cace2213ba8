"""Raw data in a folder of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sim4seg.data.adapters import ADAPTERS
from sim4seg.data.snapshot import LocalObject, Snapshot
from sim4seg.data.sources.listing import explained, files_below
from sim4seg.digest import digest_file
from sim4seg.errors import SourceError
from sim4seg.progress import with_progress
from sim4seg.safe_path import safe_path


class LocalSource:
    """The sub-datasets' folders below ``root``; only folders that an adapter knows are taken.

    What a link in such a folder leads to is part of it, wherever that lies: who put the link there owns the folder. A
    snapshot is data, and what it names must lie in such a folder (:meth:`_path`).
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def take_snapshot(self) -> Snapshot:
        """List every file of every known dataset with size and SHA-256; links are followed, clutter is passed over.

        Raises:
            SourceError: no folder there, no known dataset in it, or something in one that cannot be listed: a link that
                leads nowhere or in a circle, a name that is not UTF-8, no right to read.
        """
        files = files_below(self._folders())
        if not files:
            names = ", ".join(sorted(a.folder for a in ADAPTERS.values()))
            raise SourceError(
                "the source is empty: no dataset folder with files in it",
                where=str(self.root),
                remedy=f"put at least one of these folders there: {names}; or set fetch.root or SIM4SEG_SOURCE_ROOT",
            )
        return Snapshot(kind="local", objects=tuple(self._entry(file) for file in with_progress(files, "snapshot")))

    def _folders(self) -> list[Path]:
        """Each dataset's folder, and links under one of its names that lead nowhere."""
        named = [self.root / name for name in sorted(_folder_names())]
        with explained(self.root):
            present = [a.directory(self.root) for a in ADAPTERS.values() if a.found(self.root)]
            return [*present, *(path for path in named if path.is_symlink() and not path.exists())]

    def _entry(self, file: Path) -> LocalObject:
        with explained(file):
            size, sha256 = file.stat().st_size, digest_file(file)
        return LocalObject(key=file.relative_to(self.root).as_posix(), size=size, sha256=sha256)

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
            SourceError: an unsafe key, no folder there, or no right to read.
        """
        if not self.root.is_dir():
            raise SourceError("no such folder", where=str(self.root), remedy="set SIM4SEG_SOURCE_ROOT")
        entries = [entry for entry in snapshot.objects if isinstance(entry, LocalObject)]
        for entry in with_progress(entries, "check", total=len(entries)):
            file = self._path(entry)
            with explained(file):
                held, there = _holds(file, entry), file.is_file()
            if not held:
                yield f"{entry.key} {'has changed' if there else 'is missing'}"

    def _path(self, entry: LocalObject) -> Path:
        """Where an object of a snapshot lies.

        Raises:
            SourceError: the key is absolute, leads upwards, or is in no dataset's folder, where no snapshot looks.
        """
        path = safe_path(entry.key)
        if path.parts[0] not in _folder_names():
            raise SourceError(
                f"the snapshot names a file outside the datasets' folders: {entry.key!r}",
                where="source.snapshot.json",
                remedy="take a new snapshot with `sim4seg snapshot`",
            )
        return self.root / path

    def _copy(self, entry: LocalObject, target: Path) -> None:
        source = self._path(entry)
        remedy = "restore the file, or take a new snapshot with `sim4seg snapshot` and commit it"
        with explained(source):
            there = source.is_file()
        if not there:
            what = "a file of the snapshot is missing"
            if source.is_symlink():
                what = f"a file of the snapshot is a link to something that is not there: {source.readlink()}"
            raise SourceError(what, where=str(source), remedy=remedy)
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


def _folder_names() -> set[str]:
    return {name for adapter in ADAPTERS.values() for name in (adapter.folder, *adapter.aliases)}


def _holds(file: Path, entry: LocalObject) -> bool:
    return file.is_file() and file.stat().st_size == entry.size and digest_file(file) == entry.sha256
