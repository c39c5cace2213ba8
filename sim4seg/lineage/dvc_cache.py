"""Finding the bytes that a digest of dvc.lock stands for, in DVC's cache or in the workspace, and checking them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim4seg.lineage.dvc_lock import LineageError, dvc_digest, md5_file

DIR = ".dir"


class Damaged(LineageError):
    """An object of the cache is not what its name says; ``what`` is its path."""


@dataclass(frozen=True)
class Objects:
    """The places where objects may be.

    Attributes:
        workspace: the project's folder, whose files count where they have the digest asked for.
        cache: DVC's folder of objects.
    """

    workspace: Path
    cache: Path

    def _cached(self, md5: str) -> Path | None:
        path = self.cache / md5[:2] / md5[2:]
        if not path.is_file():
            return None
        if md5_file(path) != md5.removesuffix(DIR):
            raise Damaged(str(path))
        return path

    def file(self, path: str, md5: str) -> Path | None:
        """The file with that digest; None if it is in neither place.

        Raises:
            Damaged: the cache holds other bytes under that digest.
        """
        cached = self._cached(md5)
        if cached is None and dvc_digest(self.workspace / path) == md5:
            return self.workspace / path
        return cached

    def folder(self, path: str, md5: str) -> Mapping[str, Path] | None:
        """The files of the folder with that digest, by relative path; None if one of them is in neither place.

        Raises:
            Damaged: as :meth:`file`, or its list of files is no such list.
        """
        listed = self._cached(md5)
        if listed is None:
            return self._in_workspace(path, md5)
        try:
            entries = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(listed.read_bytes())}
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(str(listed)) from error
        cached = {name: self._cached(each) for name, each in entries.items()}
        whole = {name: file for name, file in cached.items() if file is not None}
        return whole if len(whole) == len(cached) else self._in_workspace(path, md5)

    def _in_workspace(self, path: str, md5: str) -> Mapping[str, Path] | None:
        folder = self.workspace / path
        if not folder.is_dir() or dvc_digest(folder) != md5:
            return None
        return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}

    def files(self, path: str, md5: str) -> Mapping[str, Path] | None:
        """A file as a folder of one, named "", or a folder's files."""
        if md5.endswith(DIR):
            return self.folder(path, md5)
        file = self.file(path, md5)
        return None if file is None else {"": file}
