"""Looks for secrets where none may be: logs, artifacts, parameters, lock files, models.

python -m infra.secret_scan FOLDER ... < SECRETS        one secret a line on standard input
"""

from __future__ import annotations

import base64
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote
from zipfile import BadZipFile, ZipFile

SHORTEST = 6
"""Shorter values are found everywhere."""
MOST_BYTES = 1 << 30
PIECE = 1 << 22


def _spellings(secret: str) -> set[bytes]:
    """How a secret may be written: as it is, in an address, and in base64 at each of the three offsets."""
    raw = secret.encode()
    whole = {raw, quote(secret, safe="").encode()}
    for offset in range(3):
        start = -(-offset * 8 // 6)  # the first digit that no byte before the secret has a part in
        end = (offset + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole.add(encode(b"\0" * offset + raw)[start:end])
    return whole


def _pieces(stream: Iterable[bytes], overlap: int) -> Iterator[bytes]:
    rest = b""
    for piece in stream:
        yield rest + piece
        rest = (rest + piece)[-overlap:]


def _read(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


def _unpacked(file: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The file itself, and what is in it if it is a ZIP or was written by zlib (git's objects)."""
    yield "", _read(file)
    try:
        with ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.file_size <= MOST_BYTES:
                    yield f"!{entry.filename}", iter([archive.read(entry)])
            return
    except (BadZipFile, NotImplementedError, RuntimeError):
        pass
    if file.stat().st_size <= MOST_BYTES:
        try:
            yield "!zlib", iter([zlib.decompressobj().decompress(file.read_bytes(), MOST_BYTES)])
        except zlib.error:
            return


def secrets_found(secrets: Iterable[str], folders: Iterable[Path], ignore: Iterable[Path] = ()) -> list[str]:
    """Where a secret stands, in plain, in an address, in base64, in a ZIP or in a git object, or in a file's name.

    Args:
        secrets: the values; ones shorter than six characters are refused.
        folders: folders and files to look through; links to folders are not followed.
        ignore: files that may hold them.

    Returns:
        ``path: characters 1-3 of the secret`` for each, sorted; never the secret.

    Raises:
        ValueError: a secret is too short, or a folder is missing: nothing found would mean nothing.
    """
    spellings = {spelling: secret for secret in secrets for spelling in _spellings(secret)}
    if not spellings or min(map(len, spellings)) < SHORTEST:
        raise ValueError(f"secrets of at least {SHORTEST} characters are needed")
    overlap, skipped, places = max(map(len, spellings)), {one.resolve() for one in ignore}, set()
    for folder in folders:
        if not folder.exists():
            raise ValueError(f"there is no {folder}")
        for file in _files(folder):
            if file.resolve() in skipped:
                continue
            parts = [("", iter([os.fsencode(file)])), *_unpacked(file)]
            for inside, stream in parts:
                for piece in _pieces(stream, overlap):
                    places |= {f"{file}{inside}: {spellings[s][:3]}…" for s in spellings if s in piece}
    return sorted(places)


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for top, _, names in os.walk(folder):
        yield from (Path(top) / name for name in sorted(names) if (Path(top) / name).is_file())


if __name__ == "__main__":
    report = secrets_found([line.strip() for line in sys.stdin if line.strip()], [Path(one) for one in sys.argv[1:]])
    print("\n".join(report) or "nothing found")
    sys.exit(1 if report else 0)
