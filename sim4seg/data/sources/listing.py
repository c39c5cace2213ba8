"""The files below folders of this machine, links followed: who put a link there says that it belongs to the data."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sim4seg.data.sources.clutter import is_clutter
from sim4seg.errors import SourceError

SHOWN = 5
"""Files that a message names; of the rest it says how many there are."""


@dataclass
class _Found:
    """What a walk met: files, links that lead nowhere, names that a snapshot cannot hold."""

    files: set[Path] = field(default_factory=set)
    dangling: list[Path] = field(default_factory=list)
    unnameable: list[Path] = field(default_factory=list)


def readable(path: Path | str) -> str:
    r"""A path as it can be shown: bytes that are not UTF-8 as ``\xfc``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says of a file or folder that cannot be read into an error with a remedy.

    Raises:
        SourceError: an OSError came from the block.
    """
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"a file or folder of the source cannot be read: {error.strerror or error}",
            where=readable(error.filename or path),
            remedy="give the user who runs this the right to read it, or check the disk; then run again",
        ) from error


def files_below(folders: Iterable[Path]) -> list[Path]:
    """Every file below the folders, sorted; links to files and folders are followed, clutter is passed over.

    Args:
        folders: those that are not there count as empty, but a link that leads nowhere does not.

    Raises:
        SourceError: links that lead nowhere or in a circle, names that a snapshot cannot hold, or no right to read.
    """
    found = _Found()
    for folder in folders:
        with explained(folder):
            if _goes_nowhere(folder):
                found.dangling.append(folder)
            elif folder.is_dir():
                _visit(folder, (_real(folder.stat()),), found)
    _refuse_names(found.unnameable)
    _refuse_dangling(found.dangling)
    return sorted(found.files)


def _real(state: os.stat_result) -> tuple[int, int]:
    """The same for all paths that lead to one folder."""
    return state.st_dev, state.st_ino


def _goes_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _visit(folder: Path, above: tuple[tuple[int, int], ...], found: _Found) -> None:
    """Go through a folder; ``above`` are the real folders on the way to it, itself included."""
    for path in sorted(folder.iterdir()):
        if is_clutter(path.name):
            continue
        if not _fits_a_snapshot(path.name):
            found.unnameable.append(path)
        elif _goes_nowhere(path):
            found.dangling.append(path)
        else:
            state = path.stat()
            if stat.S_ISREG(state.st_mode):
                found.files.add(path)
            elif stat.S_ISDIR(state.st_mode):
                _refuse_circle(path, _real(state), above)
                _visit(path, (*above, _real(state)), found)


def _fits_a_snapshot(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\\" not in name


def _refuse_circle(path: Path, real: tuple[int, int], above: tuple[tuple[int, int], ...]) -> None:
    if real in above:
        raise SourceError(
            "a link leads back to a folder that it lies in: following it would never end",
            where=f"{readable(path)} -> {readable(path.resolve())}",
            remedy="remove the link, or let it lead to the folder with the data",
        )


def _refuse_names(paths: list[Path]) -> None:
    if paths:
        raise SourceError(
            f"{_count(paths, 'name')} cannot be written into a snapshot: not UTF-8, or with a backslash",
            where=_shown([readable(path) for path in paths]),
            remedy="rename what is listed (`convmv -r -f latin1 -t utf8 --notest FOLDER` does a folder of names in "
            "Latin-1), in the tables that name them too; then run the same command again",
        )


def _refuse_dangling(paths: list[Path]) -> None:
    if paths:
        raise SourceError(
            f"{_count(paths, 'link')} to something that is not there",
            where=_shown([f"{readable(path)} -> {readable(path.readlink())}" for path in paths]),
            remedy="mount the disk or mend the link; where git-annex or DataLad made it, `git annex get .` or "
            "`datalad get .` in that data set; or remove the link, and the data are taken without it",
        )


def _count(paths: list[Path], word: str) -> str:
    return f"{len(paths)} {word}{'' if len(paths) == 1 else 's'}"


def _shown(lines: list[str]) -> str:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n          ".join([*lines[:SHOWN], *more])
