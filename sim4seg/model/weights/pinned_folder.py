"""A folder of weights that is pinned by its digest."""

from __future__ import annotations

from pathlib import Path

from sim4seg.digest import digest_directory
from sim4seg.errors import ModelError


def check_folder(folder: Path, sha256: str, setting: str) -> None:
    """Refuse a folder of weights that is not the pinned one.

    Args:
        folder: of weights.
        sha256: its :func:`sim4seg.digest.digest_directory`, as it should be; hexadecimal, in either case.
        setting: name of the setting that pins it, for the message.

    Raises:
        ModelError: another digest.
    """
    actual = digest_directory(folder)
    if actual != sha256.lower():
        raise ModelError(
            f"the weights have the digest {actual}, not {sha256}",
            where=str(folder),
            remedy=f"give the folder that you mean (download it again if it is damaged), or correct {setting}",
        )
