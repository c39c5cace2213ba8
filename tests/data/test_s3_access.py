"""The S3 source against a store that checks signatures and rights: SeaweedFS on loopback, a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch
from sim4seg.data.fetch import fetch
from sim4seg.data.snapshot import write_snapshot
from sim4seg.data.sources import open_source
from sim4seg.digest import digest_directory
from sim4seg.errors import SourceError
from sim4seg.storage.client import client
from tests.data.pictures import generic
from tests.ports import free_ports
from tests.settings import settings

pytestmark = pytest.mark.slow

RIGHTS = {
    "identities": [
        {"name": n, "credentials": [{"accessKey": n, "secretKey": f"{n}-secret"}], "actions": actions}
        for n, actions in (
            ("writer", ["Admin", "Read", "Write", "List"]),
            ("reader", ["Read:studies", "List:studies"]),
            ("stranger", ["Read:other", "List:other"]),
        )
    ]
}


def become(patch: pytest.MonkeyPatch, port: int, name: str, secret: str | None = None) -> None:
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", name)
    patch.setenv("AWS_SECRET_ACCESS_KEY", secret or f"{name}-secret")


def keeps_objects(store) -> bool:
    """Whether the store is up far enough to keep something."""
    try:
        store.create_bucket(Bucket="studies")
    except (BotoCoreError, ClientError) as error:
        if "BucketAlready" not in str(error):
            return False
    try:
        store.put_object(Bucket="studies", Key="probe", Body=b"x")
    except (BotoCoreError, ClientError):
        return False
    return True


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Port of a store with the bucket `studies`, in which a small dataset lies."""
    folder = tmp_path_factory.mktemp("weed")
    (folder / "s3.json").write_text(json.dumps(RIGHTS))
    s3, master, volume, filer, *grpc = free_ports(8)
    command = [
        str(Path(sys.executable).parent / "weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        *(f"-{part}.port.grpc={port}" for part, port in zip(("master", "volume", "filer", "s3"), grpc, strict=True)),
        "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}",
        "-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
        "-master.raftHashicorp", "-master.electionTimeout=1s",  # one master: no peers to wait for
    ]  # fmt: skip
    with open(folder / "log", "w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    with pytest.MonkeyPatch.context() as patch:
        become(patch, s3, "writer")
        source = generic(folder / "source")
        store, end = client(), time.monotonic() + 120
        while not keeps_objects(store):  # the port opens long before
            assert child.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        store.put_bucket_versioning(Bucket="studies", VersioningConfiguration={"Status": "Enabled"})
        for file in sorted(f for f in (folder / "source").rglob("*") if f.is_file()):
            key = f"m3ds/{file.relative_to(folder / 'source').as_posix()}"
            store.put_object(Bucket="studies", Key=key, Body=file.read_bytes())
    assert source.is_dir()
    yield s3, folder / "source"
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_a_reader_gets_the_snapshot_and_nothing_newer(port, tmp_path, monkeypatch):
    number, source = port
    become(monkeypatch, number, "reader")
    params = settings(Fetch, source="s3", root="s3://studies/m3ds")
    write_snapshot(tmp_path / "s.json", open_source(settings(Base), params).take_snapshot())
    become(monkeypatch, number, "writer")
    client().put_object(Bucket="studies", Key="m3ds/generic/images/005.png", Body=b"newer")
    become(monkeypatch, number, "reader")
    fetch(settings(Base), params, snapshot=tmp_path / "s.json", out=tmp_path / "raw", work=tmp_path / "work")
    assert digest_directory(tmp_path / "raw") == digest_directory(source)
    assert "reader-secret" not in (tmp_path / "s.json").read_text()


@pytest.mark.parametrize(("who", "secret"), [("reader", "wrong"), ("nobody", "wrong"), ("stranger", None)])
def test_wrong_keys_and_missing_rights_are_told(port, monkeypatch, who, secret):
    become(monkeypatch, port[0], who, secret)
    with pytest.raises(SourceError, match="the store refused") as caught:
        open_source(settings(Base), settings(Fetch, source="s3", root="s3://studies/m3ds")).take_snapshot()
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy
    assert "secret" not in f"{caught.value}".replace("AWS_SECRET", "").lower()
