"""Raw data in an S3 bucket, or in anything that speaks S3; addresses and keys come from the environment.

boto3 reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL (a store of one's
own, addressed path-style) by itself; nothing of them is written anywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import S3DownloadFailedError
from s3transfer.futures import TransferFuture
from s3transfer.manager import TransferManager
from s3transfer.subscribers import BaseSubscriber

from sim4seg.data.adapters import ADAPTERS
from sim4seg.data.progress import with_progress
from sim4seg.data.snapshot import S3Entry, Snapshot, safe_path
from sim4seg.errors import SourceError

PARALLEL = 16
"""Requests in flight."""
CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) to keys that may list and read there"
ENDPOINT = "check AWS_ENDPOINT_URL and the network, then run the same command again; nothing is fetched twice"
NEW_SNAPSHOT = "take a new snapshot with `sim4seg snapshot` and commit it, or restore the object"
OVERWRITTEN = "an object was overwritten since the snapshot"
MISSING = "an object of the snapshot is missing"
REFUSED = "the store refused: {code} {message}"
ANSWERS: dict[str, tuple[str, str]] = {
    "AccessDenied": (REFUSED, CREDENTIALS),
    "403": (REFUSED, CREDENTIALS),
    "InvalidAccessKeyId": (REFUSED, CREDENTIALS),
    "SignatureDoesNotMatch": (REFUSED, CREDENTIALS),
    "ExpiredToken": (REFUSED, CREDENTIALS),
    "NoSuchBucket": (REFUSED, "check the bucket's name in fetch.root"),
    "NoSuchKey": (MISSING, NEW_SNAPSHOT),
    "404": (MISSING, NEW_SNAPSHOT),
    "NoSuchVersion": ("a version of the snapshot is missing", NEW_SNAPSHOT),
    "PreconditionFailed": (OVERWRITTEN, NEW_SNAPSHOT),
}
"""What a store's error code means here, and what to do about it; any other code is refused, remedy ENDPOINT."""


def parse_uri(uri: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``; the prefix is "" or ends in a slash.

    Raises:
        SourceError: not of that form.
    """
    scheme, found, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not found or not bucket:
        raise SourceError(
            f"not an S3 address: {uri!r}", where="fetch.root or SIM4SEG_SOURCE_ROOT", remedy="write s3://BUCKET/PREFIX"
        )
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def client() -> Any:
    """A client for the store that the environment names."""
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 6},
        max_pool_connections=PARALLEL,
        s3={"addressing_style": "path" if own else "auto"},
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if own else None)
    # A session of its own: the default one remembers credentials that the environment had earlier.
    return boto3.Session().client("s3", config=config, region_name=region)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn boto3's errors into :class:`SourceError` with a remedy."""
    try:
        yield
    except S3DownloadFailedError as error:
        raise SourceError(OVERWRITTEN, where=where, remedy=NEW_SNAPSHOT) from error
    except ClientError as error:
        said = error.response.get("Error", {})
        code = str(said.get("Code", "unknown"))
        what, remedy = ANSWERS.get(code, (REFUSED, ENDPOINT))
        what = what.format(code=code, message=said.get("Message", "")).strip()
        raise SourceError(what, where=where, remedy=remedy) from error
    except (BotoCoreError, Boto3Error) as error:
        remedy = CREDENTIALS if "redential" in type(error).__name__ else ENDPOINT
        raise SourceError(f"the store cannot be used: {error}", where=where, remedy=remedy) from error


class _Pinned(BaseSubscriber):  # type: ignore[misc]
    """Tells the transfer what it must get, so that it asks for no header and takes nothing else (If-Match)."""

    def __init__(self, entry: S3Entry) -> None:
        self.entry = entry

    def on_queued(self, future: TransferFuture, **_: Any) -> None:
        future.meta.provide_transfer_size(self.entry.size)
        future.meta.provide_object_etag(f'"{self.entry.etag}"')


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

        Raises:
            SourceError: the store cannot be used, or there is no known dataset under the prefix.
        """
        known = {name for adapter in ADAPTERS.values() for name in (adapter.folder, *adapter.aliases)}
        with explained(self.uri):
            store = client()
            versioned = store.get_bucket_versioning(Bucket=self.bucket).get("Status") == "Enabled"
            pages = self._versions(store) if versioned else self._objects(store)
            entries = [entry for entry in with_progress(pages, "snapshot") if entry.key.split("/")[0] in known]
        if not entries:
            raise SourceError(
                "the source is empty: no dataset folder with objects in it",
                where=self.uri,
                remedy=f"put at least one of these folders there: {', '.join(sorted(known))}; or mend fetch.root",
            )
        return Snapshot(kind="s3", root=self.uri, objects=tuple(entries))

    def _objects(self, store: Any) -> Iterator[S3Entry]:
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            yield from (self._entry(item, None) for item in page.get("Contents", ()) if not item["Key"].endswith("/"))

    def _versions(self, store: Any) -> Iterator[S3Entry]:
        for page in store.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=self.prefix):
            for item in page.get("Versions", ()):
                if item["IsLatest"] and not item["Key"].endswith("/"):
                    yield self._entry(item, item["VersionId"])

    def _entry(self, item: dict[str, Any], version: str | None) -> S3Entry:
        key, etag = item["Key"].removeprefix(self.prefix), item["ETag"].strip('"')
        return S3Entry(key=key, size=item["Size"], etag=etag, version=version)

    def fetch(self, snapshot: Snapshot, out: Path) -> None:
        """Download the snapshot's objects, several at a time; what is there already, whole, is not fetched again.

        An object that was overwritten is had in its old version where the bucket keeps versions, and is an error where
        it does not. Files appear under their names only when they are whole.

        Raises:
            SourceError: an unsafe key, an object that is missing or not what it was, or a store that cannot be used.
        """
        if snapshot.root != self.uri:
            raise SourceError(
                f"the snapshot is of {snapshot.root}, but fetch.root is {self.uri}",
                where="source.snapshot.json",
                remedy="run `sim4seg snapshot` to record the source that params.yaml names",
            )
        wanted = [(entry, out / safe_path(entry.key)) for entry in snapshot.objects if isinstance(entry, S3Entry)]
        _remove_others(out, {target for _, target in wanted})
        missing = [(entry, target) for entry, target in wanted if not _holds(target, entry)]
        with explained(self.uri):
            store = client()
            # Only downloads by range carry the condition on the ETag; so everything is one, if of a single range.
            limits = TransferConfig(max_concurrency=PARALLEL, multipart_threshold=1)
            with TransferManager(store, limits) as manager:
                self._download(manager, store, missing)

    def check(self, snapshot: Snapshot) -> Iterator[str]:
        """One line for each object (of its version, where versions are kept) that is missing or has another ETag.

        Raises:
            SourceError: the store cannot be used.
        """
        entries = [entry for entry in snapshot.objects if isinstance(entry, S3Entry)]
        with explained(self.uri), ThreadPoolExecutor(PARALLEL) as pool:
            store = client()
            answers = pool.map(lambda entry: self._state(store, entry), entries)
            for entry, wrong in with_progress(zip(entries, answers, strict=True), "check", total=len(entries)):
                if wrong:
                    yield f"{entry.key} {wrong}"

    def _state(self, store: Any, entry: S3Entry) -> str | None:
        extra = {"VersionId": entry.version} if entry.version else {}
        try:
            head = store.head_object(Bucket=self.bucket, Key=self.prefix + entry.key, **extra)
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code")) in ("404", "NoSuchKey", "NoSuchVersion", "400"):
                return "is missing"
            raise
        same = head["ETag"].strip('"') == entry.etag and head["ContentLength"] == entry.size
        return None if same else "has changed"

    def _download(self, manager: TransferManager, store: Any, missing: list[tuple[S3Entry, Path]]) -> None:
        flying: deque[tuple[S3Entry, Path, TransferFuture]] = deque()
        for entry, target in with_progress(missing, "fetch", total=len(missing)):
            target.parent.mkdir(parents=True, exist_ok=True)
            extra = {"VersionId": entry.version} if entry.version else {}
            future = manager.download(
                self.bucket, self.prefix + entry.key, str(target), extra_args=extra, subscribers=[_Pinned(entry)]
            )
            flying.append((entry, target, future))
            if len(flying) >= 4 * PARALLEL:
                self._finish(store, *flying.popleft())
        for each in flying:
            self._finish(store, *each)

    def _finish(self, store: Any, entry: S3Entry, target: Path, future: TransferFuture) -> None:
        where = f"{self.uri}{entry.key}"
        with explained(where):
            future.result()
        if target.stat().st_size == entry.size and (_is_md5_of(target, entry) or not self._has_md5(store, entry)):
            return
        target.unlink()
        raise SourceError("what came is not the object of the snapshot", where=where, remedy=ENDPOINT)

    def _has_md5(self, store: Any, entry: S3Entry) -> bool:
        """Whether the object's ETag is the MD5 of its bytes; objects in parts or with a customer's key have others."""
        if "-" in entry.etag:
            return False
        extra = {"VersionId": entry.version} if entry.version else {}
        head = store.head_object(Bucket=self.bucket, Key=self.prefix + entry.key, **extra)
        return not (str(head.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in head)


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    """Take away what a killed run left half downloaded, under names of its own."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file not in wanted:
            file.unlink()


def _is_md5_of(file: Path, entry: S3Entry) -> bool:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == entry.etag


def _holds(file: Path, entry: S3Entry) -> bool:
    """Files appear whole; one of another size, or whose MD5 is known and differs, is fetched again."""
    if not file.is_file() or file.stat().st_size != entry.size:
        return False
    return "-" in entry.etag or _is_md5_of(file, entry)
