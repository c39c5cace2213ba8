"""Files that a table names, found though the table and the disk spell a name with other bytes."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

from sim4seg.data.adapters.base import IMAGE_SUFFIXES, image_files


def _spelling(name: str) -> str:
    """Accents composed (Macs store them apart), the ending in lower case."""
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    return path.stem + path.suffix.lower()


class NamedFiles:
    """The image files below a folder by the names that a table gives them; each folder is listed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[Path, dict[str, Path]] = {}

    def find(self, name: str) -> Path | None:
        """The image file called ``name``, a safe POSIX path below the folder, with or without its ending."""
        parts = PurePosixPath(name).parts
        folder = self._parent(parts[:-1])
        exact = folder / parts[-1]
        return exact if exact.is_file() else self._names(folder).get(_spelling(parts[-1]))

    def _parent(self, parts: tuple[str, ...]) -> Path:
        folder = self._folder
        for part in parts:
            inside = folder / part
            if not inside.is_dir() and folder.is_dir():
                wanted = unicodedata.normalize("NFC", part)
                same = sorted(p for p in folder.iterdir() if unicodedata.normalize("NFC", p.name) == wanted)
                inside = same[0] if same else inside
            folder = inside
        return folder

    def _names(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            files = image_files(folder)
            names = {_spelling(unicodedata.normalize("NFC", path.stem)): path for path in files}
            names.update({_spelling(path.name): path for path in files})
            self._listed[folder] = names
        return self._listed[folder]


def without_ending(name: str) -> str:
    """``name`` without an image file's ending; other dots belong to the name."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name
