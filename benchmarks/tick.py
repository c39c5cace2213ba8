"""How long a scheduled run takes to find that nothing is new, on a large bucket.

    python benchmarks/tick.py                    100,000 objects
    python benchmarks/tick.py --objects 10000

Starts an S3 store on loopback, fills a versioned bucket with small objects, records a version as made from that
snapshot and runs `python -m flows.retrain` three times: process start, the listing, the look-up. The first run starts a
Prefect server of its own and makes its database, the second starts a server, the third finds one that is running, as a
scheduled run does. Prints one JSON object. Filling takes some minutes, the runs themselves are what is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # infra is no part of the installed package

from infra.identities import ADMIN, secret_name  # noqa: E402
from infra.local.service import Service  # noqa: E402
from infra.local.stack import Stack, free_ports  # noqa: E402
from infra.local.web import request  # noqa: E402
from sim4seg.config.params import load_params  # noqa: E402
from sim4seg.data.adapters import ADAPTERS  # noqa: E402
from sim4seg.data.snapshot import snapshot_digest  # noqa: E402
from sim4seg.data.sources import open_source  # noqa: E402
from sim4seg.offline import SILENT  # noqa: E402
from sim4seg.registry.store import Store  # noqa: E402
from sim4seg.registry.tags import DECISION, SNAPSHOT_DIGEST  # noqa: E402

ADDRESS = "s3://data/studies"


def fill(stack: Stack, count: int) -> None:
    """Put ``count`` small objects under the prefix, in the folders of all datasets alike, eight at a time."""
    store = stack.s3(ADMIN)
    store.create_bucket(Bucket="data")
    store.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})

    folders = sorted(adapter.folder for adapter in ADAPTERS.values())

    def put(number: int) -> None:
        key = f"studies/{folders[number % len(folders)]}/{number:07d}.jpg"
        store.put_object(Bucket="data", Key=key, Body=b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, range(count)):
            pass


def clone(folder: Path) -> None:
    """A clone of the committed project whose source is the bucket."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    file = folder / "params.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    values["fetch"] |= {"source": "s3", "root": ADDRESS}
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    who = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    subprocess.run(["git", *who, "commit", "-qam", "Source"], cwd=folder, check=True)


def record_version(folder: Path) -> int:
    """A version that says it was made from what is in the bucket now; how many objects that is."""
    params = load_params(folder / "params.yaml")
    snapshot = open_source(params.base, params.fetch).take_snapshot()
    store = Store(params.register_.name, folder, create=True)
    store.client.create_registered_model(store.name)
    tags = {SNAPSHOT_DIGEST: snapshot_digest(snapshot), DECISION: "promoted"}
    store.client.create_model_version(store.name, (folder / "none").as_uri(), tags=tags)
    return len(snapshot.objects)


def prefect_server(folder: Path, port: int) -> Service:
    """A Prefect server with its database in ``folder``."""
    return Service(
        name="prefect",
        command=[
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-ui",
        ],
        folder=folder,
        environment={**os.environ, **SILENT, "PREFECT_HOME": str(folder)},
        probe=lambda: request(f"http://127.0.0.1:{port}/api/health"),
    )


def tick(folder: Path, **more: str) -> dict[str, Any]:
    """Seconds and last line of one run, with ``more`` in its environment."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "flows.retrain"]
    environment = {**os.environ, "PYTHONPATH": str(folder), **more}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begun
    if done.returncode or "UpToDate" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    return {"seconds": round(seconds, 1), "said": done.stdout.strip().splitlines()[-1]}


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    count = parser.parse_args().objects
    with tempfile.TemporaryDirectory() as scratch:
        stack = Stack(Path(scratch) / "stack")
        store, port = stack["s3"], free_ports(1)[0]
        server = prefect_server(Path(scratch) / "server", port)
        store.start()
        try:
            os.environ |= {
                "AWS_ENDPOINT_URL": stack.endpoint,
                "AWS_ACCESS_KEY_ID": ADMIN,
                "AWS_SECRET_ACCESS_KEY": stack.secrets[secret_name(ADMIN)],
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            fill(stack, count)
            clone(Path(scratch) / "project")
            objects = record_version(Path(scratch) / "project")
            runs = {"first": tick(Path(scratch) / "project"), "next": tick(Path(scratch) / "project")}
            server.start()
            runs["scheduled"] = tick(Path(scratch) / "project", PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
            print(json.dumps({"objects": objects, **runs}, indent=2))
        finally:
            server.kill()
            store.kill()


if __name__ == "__main__":
    main()
