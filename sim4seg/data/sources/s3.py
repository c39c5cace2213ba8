"""Raw data in an S3 bucket, or in anything that speaks S3; addresses and keys come from the environment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sim4seg.data.adapters import ADAPTERS
from sim4seg.data.snapshot import S3Object, Snapshot
from sim4seg.data.sources.clutter import is_clutter
from sim4seg.errors import SourceError
from sim4seg.progress import with_progress
from sim4seg.safe_path import safe_path
from sim4seg.storage.client import CHANGED, ENDPOINT, PARALLEL, REFUSED, Answers, client, explained, parse_uri
from sim4seg.storage.download import PinnedObject, download, size_and_etag

LISTED_AT_ONCE = 4
NEW_SNAPSHOT = "take a new snapshot with `sim4seg snapshot` and commit it, or restore the object"
MISSING = ("an object of the snapshot is missing", NEW_SNAPSHOT)
ANSWERS: Answers = {
    "NoSuchBucket": (REFUSED, "check the bucket's name in fetch.root"),
    "NoSuchKey": MISSING,
    "404": MISSING,
    "NoSuchVersion": ("a version of the snapshot is missing", NEW_SNAPSHOT),
    CHANGED: ("an object was overwritten since the snapshot", NEW_SNAPSHOT),
}
"""What a store's error code means here, and what to do about it."""


class S3Source:
    """The sub-datasets' folders below a prefix of a bucket; only folders that an adapter knows are taken.

    Args:
        uri: ``s3://bucket/prefix``.
    """

    def __init__(self, uri: str) -> None:
        self.bucket, self.prefix = parse_uri(uri)
        self.uri = f"s3://{self.bucket}/{self.prefix}"

    def take_snapshot(self) -> Snapshot:
        """List every object of every known dataset: key, size, ETag, and the version where the bucket keeps versions.

        Folders are listed several at a time; what lies in others is not looked at, clutter is passed over.

        Raises:
            SourceError: the store refused, or there is no known dataset under the prefix.
            Unreachable: the store is out of reach.
        """
        known = sorted({name for adapter in ADAPTERS.values() for name in (adapter.folder, *adapter.aliases)})
        with explained(self.uri, ANSWERS), ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
            store = client()
            versioned = store.get_bucket_versioning(Bucket=self.bucket).get("Status") == "Enabled"
            listed = self._versions if versioned else self._objects
            folders = pool.map(lambda name: list(listed(store, f"{self.prefix}{name}/")), known)
            entries = [entry for objects in with_progress(folders, "snapshot", total=len(known)) for entry in objects]
        if not entries:
            raise SourceError(
                "the source is empty: no dataset folder with objects in it",
                where=self.uri,
                remedy=f"put at least one of these folders there: {', '.join(sorted(known))}; or mend fetch.root",
            )
        return Snapshot(kind="s3", root=self.uri, objects=tuple(entries))

    def _objects(self, store: Any, folder: str) -> Iterator[S3Object]:
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=folder):
            yield from (self._entry(item, None) for item in page.get("Contents", ()) if self._is_data(item["Key"]))

    def _versions(self, store: Any, folder: str) -> Iterator[S3Object]:
        for page in store.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=folder):
            for item in page.get("Versions", ()):
                if item["IsLatest"] and self._is_data(item["Key"]):
                    yield self._entry(item, item["VersionId"])

    def _is_data(self, key: str) -> bool:
        """Whether an object is a file of a dataset, and neither a folder's mark nor clutter."""
        return not key.endswith("/") and not is_clutter(key.removeprefix(self.prefix))

    def _entry(self, item: dict[str, Any], version: str | None) -> S3Object:
        key, etag = item["Key"].removeprefix(self.prefix), item["ETag"].strip('"')
        return S3Object(key=key, size=item["Size"], etag=etag, version=version)

    def fetch(self, snapshot: Snapshot, out: Path) -> None:
        """Download the snapshot's objects, several at a time; what is there already, whole, is not fetched again.

        An object that was overwritten is had in its old version where the bucket keeps versions, and is an error where
        it does not. Files appear under their names only when they are whole.

        Raises:
            SourceError: an unsafe key, an object that is missing or not what it was, or a store that refuses.
            Unreachable: the store is out of reach.
        """
        if snapshot.root != self.uri:
            raise SourceError(
                f"the snapshot is of {snapshot.root}, but fetch.root is {self.uri}",
                where="source.snapshot.json",
                remedy="run `sim4seg snapshot` to record the source that params.yaml names",
            )
        targets = [(entry, out / safe_path(entry.key)) for entry in snapshot.objects if isinstance(entry, S3Object)]
        _remove_others(out, {target for _, target in targets})
        missing = [(entry, target) for entry, target in targets if not _holds(target, entry)]
        with explained(self.uri, ANSWERS):
            store = client()
            objects = (
                PinnedObject(self.prefix + entry.key, target, entry.size, entry.etag, entry.version)
                for entry, target in with_progress(missing, "fetch", total=len(missing))
            )
            download(store, self.bucket, objects, lambda pinned: self._accept(store, pinned), ANSWERS)

    def check(self, snapshot: Snapshot) -> Iterator[str]:
        """One line for each object (of its version, where versions are kept) that is missing or has another ETag.

        Raises:
            SourceError: the store refused.
            Unreachable: the store is out of reach.
        """
        entries = [entry for entry in snapshot.objects if isinstance(entry, S3Object)]
        with explained(self.uri, ANSWERS), ThreadPoolExecutor(PARALLEL) as pool:
            store = client()
            answers = pool.map(lambda entry: self._state(store, entry), entries)
            for entry, wrong in with_progress(zip(entries, answers, strict=True), "check", total=len(entries)):
                if wrong:
                    yield f"{entry.key} {wrong}"

    def _state(self, store: Any, entry: S3Object) -> str | None:
        stored = size_and_etag(store, self.bucket, self.prefix + entry.key, entry.version)
        if stored is None:
            return "is missing"
        return None if stored == (entry.size, entry.etag) else "has changed"

    def _accept(self, store: Any, pinned: PinnedObject) -> None:
        if pinned.target.stat().st_size == pinned.size and (
            _is_md5_of(pinned.target, pinned.etag) or not self._has_md5(store, pinned)
        ):
            return
        pinned.target.unlink()
        where = f"s3://{self.bucket}/{pinned.key}"
        what = "the downloaded file has another size or MD5 than the snapshot recorded"
        raise SourceError(what, where=where, remedy=ENDPOINT)

    def _has_md5(self, store: Any, pinned: PinnedObject) -> bool:
        """Whether the object's ETag is the MD5 of its bytes; objects in parts or with a customer's key have others."""
        if "-" in pinned.etag:
            return False
        head = store.head_object(Bucket=self.bucket, Key=pinned.key, **pinned.arguments)
        return not (str(head.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in head)


def _remove_others(folder: Path, listed_files: set[Path]) -> None:
    """Take away what a killed run left half downloaded, under names of its own."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file not in listed_files:
            file.unlink()


def _is_md5_of(file: Path, etag: str) -> bool:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == etag


def _holds(file: Path, entry: S3Object) -> bool:
    """Files appear whole; one of another size, or whose MD5 is known and differs, is fetched again."""
    if not file.is_file() or file.stat().st_size != entry.size:
        return False
    return "-" in entry.etag or _is_md5_of(file, entry.etag)
