"""A client for an S3 store, its addresses, and its errors in words; addresses and keys come from the environment.

boto3 reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL (a store of one's
own, addressed path-style) by itself; nothing of them is written anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import boto3
from boto3.exceptions import Boto3Error, S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    InvalidProxiesConfigError,
    ProfileNotFound,
    ResponseStreamingError,
    SSLError,
)
from botocore.session import get_session
from botocore.utils import parse_timestamp
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from sim4seg.errors import Sim4SegError, SourceError, Unreachable

PARALLEL = 16
"""Requests in flight."""
CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) to keys that have these rights there"
ENDPOINT = "check AWS_ENDPOINT_URL and the network, then run the same command again; nothing is done twice"
REFUSED = "the store refused: {code} {message}"

Answers = Mapping[str, tuple[str, str]]
"""By the store's error code: what it means here, and what to do about it."""
ANSWERS: Answers = {
    code: (REFUSED, CREDENTIALS)
    for code in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
} | {
    "NoSuchBucket": (REFUSED, "check the bucket's name, or make the bucket"),
    "RequestTimeTooSkewed": (
        "the clocks of this machine and of the store differ: {message}",
        "set this machine's clock",
    ),
}
"""What is said wherever the caller says nothing better; any other code is refused, remedy ENDPOINT."""
CHANGED = "PreconditionFailed"
"""The code under which a caller answers for an object that is not the one that was asked for."""

BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "429"} | {
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
"""Codes that ask to come back later; so does every status of 500 and above."""
OUTAGES = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError, RetriesExceededError)
LASTING = (SSLError, InvalidProxiesConfigError)
"""Of these, what no waiting mends."""


def parse_uri(uri: str, where: str = "fetch.root or SIM4SEG_SOURCE_ROOT") -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``; the prefix is "" or ends in a slash.

    Args:
        where: the setting that holds the address, for the message.

    Raises:
        SourceError: not of that form.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise SourceError(f"not an S3 address: {uri!r}", where=where, remedy="write s3://BUCKET/PREFIX")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def client(profile: str | None = None) -> Any:
    """A client for the store that the environment names.

    Args:
        profile: of the AWS credentials file; None = what the environment says.

    Raises:
        SourceError: the address in the environment is none, or there is no such profile.
    """
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 6},
        max_pool_connections=PARALLEL,
        s3={"addressing_style": "path" if own else "auto"},
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if own else None)
    try:
        # A session of its own: the default one remembers credentials that the environment had earlier.
        core = get_session()
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
        return boto3.Session(profile_name=profile, botocore_session=core).client(
            "s3", config=config, region_name=region
        )
    except ProfileNotFound as error:
        raise SourceError(
            f"the store cannot be used: {error}", where="AWS_SHARED_CREDENTIALS_FILE", remedy="add it, or name another"
        ) from error
    except ValueError as error:
        raise SourceError(
            f"the store cannot be used: {error}", where="AWS_ENDPOINT_URL", remedy="write http(s)://HOST:PORT"
        ) from error


def _timestamp(value: Any) -> datetime:
    """As botocore's own, which takes any form of date and half of the time that a long listing takes to be read."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return cast(datetime, parse_timestamp(value))


@contextmanager
def explained(where: str, answers: Answers | None = None, kind: type[Sim4SegError] = SourceError) -> Iterator[None]:
    """Turn boto3's errors into ones with a remedy.

    Args:
        where: address of what was asked for.
        answers: what error codes mean for this caller; the rest is in :data:`ANSWERS`.
        kind: class of the errors raised.

    Raises:
        Unreachable: the store is out of reach, timed out, or says that it is out of order or busy.
    """
    said_here = {**ANSWERS, **(answers or {})}
    try:
        yield
    except S3UploadFailedError as error:
        with explained(where, answers, kind):
            raise error.__context__ if isinstance(error.__context__, ClientError) else Boto3Error(str(error)) from error
    except S3DownloadFailedError as error:
        what, remedy = said_here.get(CHANGED, (f"the download failed: {error}", ENDPOINT))
        raise kind(what, where=where, remedy=remedy) from error
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = str(answer.get("Code", "unknown"))
        what, remedy = said_here.get(code, (REFUSED, ENDPOINT))
        what = what.format(code=code, message=answer.get("Message", "")).strip()
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code not in said_here and (code in BUSY or status >= 500 or status == 429):
            raise Unreachable(what, where=where, remedy=ENDPOINT) from error
        raise kind(what, where=where, remedy=remedy) from error
    except OUTAGES as error:
        if isinstance(error, LASTING):
            raise kind(f"the store cannot be used: {error}", where=where, remedy=ENDPOINT) from error
        raise Unreachable(f"the store cannot be reached: {error}", where=where, remedy=ENDPOINT) from error
    except (BotoCoreError, Boto3Error) as error:
        remedy = CREDENTIALS if "redential" in type(error).__name__ else ENDPOINT
        raise kind(f"the store cannot be used: {error}", where=where, remedy=remedy) from error
