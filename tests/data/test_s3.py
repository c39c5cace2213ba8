"""The S3 source against a real server on loopback, with a proxy before it that fails as stores do."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch
from sim4seg.data.fetch import fetch
from sim4seg.data.snapshot import Snapshot, read_snapshot, write_snapshot
from sim4seg.data.sources import open_source
from sim4seg.digest import digest_directory
from sim4seg.errors import SourceError
from sim4seg.storage.client import client, parse_uri
from tests.data.pictures import generic
from tests.ports import free_port
from tests.settings import settings

pytestmark = pytest.mark.slow

SECRET = "planted-secret-0123456789"


@pytest.fixture(scope="module")
def server():
    """Port of a store that keeps everything in memory."""
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert child.poll() is None
            time.sleep(0.1)
    yield port
    child.terminate()
    child.wait()


@pytest.fixture
def store(server, monkeypatch, request):
    """A client, and a bucket named after the test."""
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server}",
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SIM4SEG_SOURCE_ROOT", raising=False)
    made = client()
    made.bucket = f"b{abs(hash(request.node.name)) % 10**9}"
    made.create_bucket(Bucket=made.bucket)
    return made


def upload(store, folder: Path, prefix: str = "studies/") -> int:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    for file in files:
        store.put_object(Bucket=store.bucket, Key=prefix + file.relative_to(folder).as_posix(), Body=file.read_bytes())
    return len(files)


def taken(store, tmp_path: Path, prefix: str = "studies") -> tuple[Fetch, Path]:
    """Parameters, and a snapshot of what the bucket holds now."""
    params = settings(Fetch, source="s3", root=f"s3://{store.bucket}/{prefix}")
    write_snapshot(tmp_path / "s.json", open_source(settings(Base), params).take_snapshot())
    return params, tmp_path / "s.json"


def bring(tmp_path: Path, params: Fetch, file: Path) -> Path:
    fetch(settings(Base, workers=1), params, snapshot=file, out=tmp_path / "raw", work=tmp_path / "work")
    return tmp_path / "raw"


def test_what_was_uploaded_comes_back(store, tmp_path):
    generic(tmp_path / "source")
    count = upload(store, tmp_path / "source")
    store.put_object(Bucket=store.bucket, Key="studies/notes/readme.txt", Body=b"no dataset")
    store.put_object(Bucket=store.bucket, Key="studies/generic/", Body=b"")
    store.put_object(Bucket=store.bucket, Key="elsewhere/generic/images/x.png", Body=b"x")
    params, file = taken(store, tmp_path)
    content = json.loads(file.read_text())
    assert content["root"] == f"s3://{store.bucket}/studies/" and len(content["objects"]) == count
    assert SECRET not in file.read_text() and "reader" not in file.read_text()
    assert digest_directory(bring(tmp_path, params, file)) == digest_directory(tmp_path / "source")
    again = tmp_path / "again.json"
    write_snapshot(again, open_source(settings(Base), params).take_snapshot())
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("versions", [False, True])
def test_objects_of_a_snapshot_are_checked_where_they_are(store, tmp_path, versions):
    if versions:
        store.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    generic(tmp_path / "source")
    upload(store, tmp_path / "source")
    params, file = taken(store, tmp_path)
    source, snapshot = open_source(settings(Base), params), read_snapshot(file)
    assert list(source.check(snapshot)) == []
    first, second = (entry.key for entry in snapshot.objects[:2])
    store.put_object(Bucket=store.bucket, Key=f"studies/{first}", Body=b"other")
    store.delete_object(Bucket=store.bucket, Key=f"studies/{second}")
    assert list(source.check(snapshot)) == ([] if versions else [f"{first} has changed", f"{second} is missing"])
    store.delete_object(Bucket=store.bucket, Key=f"studies/{first}", VersionId=snapshot.objects[0].version or "null")
    if versions:
        assert list(source.check(snapshot)) == [f"{first} is missing"]


@pytest.mark.parametrize("versions", [False, True])
def test_what_a_file_manager_left_is_not_in_the_snapshot(store, tmp_path, versions):
    if versions:
        store.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    generic(tmp_path / "source")
    count = upload(store, tmp_path / "source", "@eaDir/studies/")  # clutter above the source is none in it
    before = taken(store, tmp_path, "@eaDir/studies")[1].read_bytes()
    for name in ("generic/.DS_Store", "generic/images/Thumbs.db", "generic/__MACOSX/generic/labels.csv"):
        store.put_object(Bucket=store.bucket, Key=f"@eaDir/studies/{name}", Body=b"x")
    after = taken(store, tmp_path, "@eaDir/studies")[1]
    assert after.read_bytes() == before and len(read_snapshot(after).objects) == count


def test_listings_longer_than_a_page(store, tmp_path):
    for number in range(1005):
        store.put_object(Bucket=store.bucket, Key=f"generic/images/{number:04d}.png", Body=b"x")
    _, file = taken(store, tmp_path, prefix="")
    assert len(read_snapshot(file).objects) == 1005


def test_an_overwritten_object_is_an_error_without_versions(store, tmp_path):
    generic(tmp_path / "source")
    upload(store, tmp_path / "source")
    params, file = taken(store, tmp_path)
    store.put_object(Bucket=store.bucket, Key="studies/generic/images/005.png", Body=b"other")
    with pytest.raises(SourceError, match="overwritten since the snapshot") as caught:
        bring(tmp_path, params, file)
    assert caught.value.where.endswith("generic/images/005.png") and "sim4seg snapshot" in caught.value.remedy
    store.delete_object(Bucket=store.bucket, Key="studies/generic/images/005.png")
    with pytest.raises(SourceError, match="missing"):
        bring(tmp_path, params, file)
    assert not (tmp_path / "raw").exists()


def test_an_overwritten_object_is_had_in_its_old_version(store, tmp_path):
    store.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    generic(tmp_path / "source")
    count = upload(store, tmp_path / "source")
    store.put_object(Bucket=store.bucket, Key="studies/generic/images/gone.png", Body=b"x")
    store.delete_object(Bucket=store.bucket, Key="studies/generic/images/gone.png")
    params, file = taken(store, tmp_path)
    assert len(read_snapshot(file).objects) == count, "a deleted object is not listed"
    store.put_object(Bucket=store.bucket, Key="studies/generic/images/005.png", Body=b"other")
    store.delete_object(Bucket=store.bucket, Key="studies/generic/images/006.png")
    assert digest_directory(bring(tmp_path, params, file)) == digest_directory(tmp_path / "source")


def test_objects_in_parts_are_fetched_whole(store, tmp_path):
    big = os.urandom(17 * 2**20)
    (tmp_path / "big").write_bytes(big)
    from boto3.s3.transfer import TransferConfig

    parts = TransferConfig(multipart_threshold=2**20, multipart_chunksize=8 * 2**20)
    store.upload_file(str(tmp_path / "big"), store.bucket, "studies/generic/images/big.png", Config=parts)
    params, file = taken(store, tmp_path)
    assert "-" in read_snapshot(file).objects[0].etag
    assert (bring(tmp_path, params, file) / "generic/images/big.png").read_bytes() == big


@pytest.mark.parametrize("key", ["../outside.txt", "/etc/hostname", "a/../../b"])
def test_keys_do_not_lead_out(store, tmp_path, key):
    store.put_object(Bucket=store.bucket, Key="studies/generic/images/a.png", Body=b"x")
    params, file = taken(store, tmp_path)
    content = json.loads(file.read_text())
    content["objects"][0]["key"] = key
    file.write_text(json.dumps(content))
    with pytest.raises(SourceError, match="unsafe key"):
        bring(tmp_path, params, file)


def test_mistakes_are_named(store, tmp_path, monkeypatch):
    with pytest.raises(SourceError, match="source is empty"):
        taken(store, tmp_path)
    with pytest.raises(SourceError, match="NoSuchBucket") as caught:
        open_source(settings(Base), settings(Fetch, source="s3", root="s3://no-such-bucket/x")).take_snapshot()
    assert "fetch.root" in caught.value.remedy
    with pytest.raises(SourceError, match="not an S3 address"):
        open_source(settings(Base), settings(Fetch, source="s3", root="raw"))
    store.put_object(Bucket=store.bucket, Key="studies/generic/images/a.png", Body=b"x")
    params, file = taken(store, tmp_path)
    with pytest.raises(SourceError, match="but fetch.root is s3://other/"):
        bring(tmp_path, params.model_copy(update={"root": "s3://other/"}), file)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SourceError, match="cannot be used") as caught:
        bring(tmp_path, params, file)
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy


@pytest.mark.parametrize(
    ("uri", "parts"), [("s3://b", ("b", "")), ("s3://b/", ("b", "")), ("s3://b/a/c/", ("b", "a/c/"))]
)
def test_addresses(uri, parts):
    assert parse_uri(uri) == parts


def test_a_snapshot_that_lists_nothing_is_told(tmp_path):
    write_snapshot(tmp_path / "s.json", Snapshot(kind="s3", root="s3://b/"))
    with pytest.raises(SourceError, match="lists no files"):
        bring(tmp_path, settings(Fetch, source="s3", root="s3://b"), tmp_path / "s.json")


def test_a_snapshot_knows_its_kind():
    with pytest.raises(ValueError, match="not a snapshot of kind s3"):
        Snapshot(kind="s3")


class Faulty(ThreadingHTTPServer):
    """Passes requests on to a store, and fails the first ``faults`` downloads of each key.

    With several kinds of failure, each key in turn has the next one.
    """

    def __init__(self, store_port: int, *kinds: str, faults: int = 1) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store_port, self.kinds, self.faults = store_port, kinds, faults
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def failure(self, key: str) -> str:
        """How this download of ``key`` fails; empty if it does not."""
        with self.lock:
            self.asked[key] += 1
            if self.asked[key] > self.faults:
                return ""
            kind = self.kinds[list(self.asked).index(key) % len(self.kinds)]
            self.failed[kind] += 1
            return kind


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD only: what a download needs."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.store_port, timeout=30)
        upstream.request(self.command, self.path, headers=dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        kind = self.server.failure(self.path) if ".png" in self.path and self.command == "GET" else ""
        if kind == "slow":
            time.sleep(0.7)
        self.send_response(503 if kind == "503" else answer.status)
        for name, value in [] if kind == "503" else answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(0 if kind == "503" else len(body)))
        self.end_headers()
        if self.command == "GET" and kind != "503":
            self.wfile.write(body[: len(body) // 2] if kind == "truncated" else body)
        if kind:
            self.close_connection = True


@pytest.mark.parametrize("kind", ["503", "slow", "truncated"])
def test_a_store_that_fails_now_and_then(store, server, tmp_path, monkeypatch, kind):
    generic(tmp_path / "source")
    upload(store, tmp_path / "source")
    params, file = taken(store, tmp_path)
    proxy = Faulty(server, kind)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    assert digest_directory(bring(tmp_path, params, file)) == digest_directory(tmp_path / "source")
    assert kind == "slow" or max(proxy.asked.values()) > 1
    proxy.shutdown()


CHILD = """
import sys
from pathlib import Path
from sim4seg.config.base import Base
from sim4seg.config.fetch import Fetch
from sim4seg.data.fetch import fetch
from tests.settings import settings
root, params = Path(sys.argv[1]), settings(Fetch, source="s3", root=sys.argv[2])
fetch(settings(Base), params, snapshot=root / "s.json", out=root / "raw", work=root / "work")
"""


def size_or_none(file: Path) -> int | None:
    """Bytes of a file that another process may take away at any moment."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def test_killed_and_run_again_fetches_nothing_twice(store, server, tmp_path, monkeypatch):
    generic(tmp_path / "source")
    upload(store, tmp_path / "source")
    params, file = taken(store, tmp_path)
    proxy = Faulty(server, "slow", faults=10**9)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", CHILD, str(tmp_path), params.root]
    child = subprocess.Popen(command, env=environment, start_new_session=True)

    def whole() -> set[str]:
        sizes = {entry.key: entry.size for entry in read_snapshot(file).objects}
        return {
            key
            for folder in tmp_path.glob("work/fetch-*")
            for key, size in sizes.items()
            if size_or_none(folder / key) == size
        }

    end = time.monotonic() + 60
    while len(whole()) < 3 and child.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    kept = whole()
    assert 3 <= len(kept) < 25
    proxy.faults, proxy.asked = 0, Counter()
    assert subprocess.run(command, env=environment).returncode == 0
    assert digest_directory(tmp_path / "raw") == digest_directory(tmp_path / "source")
    assert not [path for path in proxy.asked if any(path.split("?")[0].endswith(key) for key in kept)]
    proxy.shutdown()
