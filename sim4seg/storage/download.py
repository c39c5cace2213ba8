"""Downloads of named objects, several at a time, each pinned to the version or ETag that is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from s3transfer.futures import TransferFuture
from s3transfer.manager import TransferManager
from s3transfer.subscribers import BaseSubscriber

from sim4seg.storage.client import PARALLEL, Answers, explained


@dataclass(frozen=True)
class PinnedObject:
    """An object and where it goes.

    Attributes:
        key: whole key in the bucket.
        target: file to write; it appears whole or not at all.
        size: bytes.
        etag: without quotes.
        version: where the bucket keeps versions.
    """

    key: str
    target: Path
    size: int
    etag: str
    version: str | None = None

    @property
    def arguments(self) -> dict[str, str]:
        """What a request for this very version carries."""
        return {"VersionId": self.version} if self.version else {}


def size_and_etag(store: Any, bucket: str, key: str, version: str | None) -> tuple[int, str] | None:
    """Of an object (of its version) as it is now; None if it is missing. Errors of boto3 are the caller's."""
    extra = {"VersionId": version} if version else {}
    try:
        head = store.head_object(Bucket=bucket, Key=key, **extra)
    except ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) in ("404", "NoSuchKey", "NoSuchVersion", "400"):
            return None
        raise
    return int(head["ContentLength"]), str(head["ETag"]).strip('"')


class _Pinned(BaseSubscriber):  # type: ignore[misc]
    """Tells the transfer what it must get, so that it asks for no header and takes nothing else (If-Match)."""

    def __init__(self, pinned: PinnedObject) -> None:
        self.pinned = pinned

    def on_queued(self, future: TransferFuture, **_: Any) -> None:
        future.meta.provide_transfer_size(self.pinned.size)
        future.meta.provide_object_etag(f'"{self.pinned.etag}"')


def download(
    store: Any,
    bucket: str,
    objects: Iterable[PinnedObject],
    check: Callable[[PinnedObject], None],
    answers: Answers | None = None,
) -> None:
    """Download the objects; ``check`` is called on each when its file is there, in the order given.

    Raises:
        SourceError: an object is missing or is not the one wanted, or the store refused.
        Unreachable: the store is out of reach.
    """
    flying: deque[tuple[PinnedObject, TransferFuture]] = deque()

    def finish() -> None:
        pinned, future = flying.popleft()
        with explained(f"s3://{bucket}/{pinned.key}", answers):
            future.result()
        check(pinned)

    # Only downloads by range carry the condition on the ETag; so everything is one, if of a single range.
    limits = TransferConfig(max_concurrency=PARALLEL, multipart_threshold=1)
    with TransferManager(store, limits) as manager:
        for pinned in objects:
            pinned.target.parent.mkdir(parents=True, exist_ok=True)
            extra, pin = pinned.arguments, [_Pinned(pinned)]
            future = manager.download(bucket, pinned.key, str(pinned.target), extra_args=extra, subscribers=pin)
            flying.append((pinned, future))
            if len(flying) >= 4 * PARALLEL:
                finish()
        while flying:
            finish()
