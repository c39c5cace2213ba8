"""Sets of files under a prefix, each with its SHA-256, and a small object that points at one of them.

Readers follow the pointer. It is written last, in one request, so they see the old set or the new one, never a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from sim4seg.atomic import atomic_directory
from sim4seg.digest import digest_file
from sim4seg.errors import RegistryError
from sim4seg.progress import with_progress
from sim4seg.safe_path import safe_path
from sim4seg.storage.client import ENDPOINT, Answers, client, explained

BLOCK = 1024 * 1024
SMALL = 4 * BLOCK
"""Bytes that a pointer or a list of files may have."""
ABSENT = ("NoSuchKey", "404")
ANSWERS: Answers = {code: ("there is no such object", "check the address") for code in ABSENT}


@dataclass(frozen=True)
class Place:
    """A bucket and a prefix in it, "" or ending in a slash; ``profile`` of the AWS credentials file, None = none."""

    bucket: str
    prefix: str
    profile: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def at(self, name: str) -> dict[str, str]:
        """Arguments of a request for the object ``name``."""
        return {"Bucket": self.bucket, "Key": self.prefix + name}


def read_small(place: Place, name: str) -> bytes | None:
    """An object's bytes; None if it is not there.

    Raises:
        RegistryError: it is too large, or the store refuses.
        Unreachable: the store is out of reach.
    """
    with explained(f"{place}{name}", kind=RegistryError):
        try:
            body = client(place.profile).get_object(**place.at(name))["Body"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ABSENT:
                return None
            raise
        data = bytes(body.read(SMALL + 1))
    if len(data) > SMALL:
        what = f"the object is larger than {SMALL:,} bytes, more than a pointer or a list of files has"
        raise RegistryError(what, where=f"{place}{name}", remedy="check the address")
    return data


def write_small(place: Place, name: str, data: bytes) -> None:
    """Put an object, replacing the one there in one step."""
    with explained(f"{place}{name}", kind=RegistryError):
        client(place.profile).put_object(**place.at(name), Body=data, ContentType="application/json")


def _stored_digest(store: Any, place: Place, name: str) -> str | None:
    """SHA-256 of what the store gives back for an object; None if it is not there."""
    try:
        body = store.get_object(**place.at(name))["Body"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ABSENT:
            return None
        raise
    state = hashlib.sha256()
    for block in body.iter_chunks(BLOCK):
        state.update(block)
    return state.hexdigest()


def upload(place: Place, files: Mapping[str, Path], digests: Mapping[str, str]) -> None:
    """Put the files below the prefix, and read each back; what is there already, whole, is not sent again.

    Args:
        files: name below the prefix to file.
        digests: name to SHA-256.

    Raises:
        RegistryError: the store refuses, or gives back other bytes than it was given.
        Unreachable: the store is out of reach.
    """
    store = client(place.profile)
    for name in with_progress(sorted(files), "export", total=len(files)):
        with explained(f"{place}{name}", kind=RegistryError):
            if _stored_digest(store, place, name) == digests[name]:
                continue
            store.upload_file(str(files[name]), place.bucket, place.prefix + name)
            given = _stored_digest(store, place, name)
        if given != digests[name]:
            raise RegistryError(
                "what the store holds after the upload is not the file that was sent: its SHA-256 differs",
                where=f"{place}{name}",
                remedy=ENDPOINT,
            )


def download(place: Place, digests: Mapping[str, str], out: Path) -> None:
    """Fetch the files of a set into a new folder, which appears only if every digest is right.

    Args:
        digests: name below the prefix to SHA-256.

    Raises:
        RegistryError: a file is missing or is not the one listed, or the store refuses.
        Unreachable: the store is out of reach.
    """
    store = client(place.profile)
    with atomic_directory(out) as partial:
        for name in with_progress(sorted(digests), "download", total=len(digests)):
            target = partial / safe_path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with explained(f"{place}{name}", ANSWERS, RegistryError):
                store.download_file(place.bucket, place.prefix + name, str(target))
            if digest_file(target) != digests[name]:
                raise RegistryError(
                    "the file is not the one that was exported: its SHA-256 differs",
                    where=f"{place}{name}",
                    remedy="do not use it; export the champion again under another prefix and compare",
                )
