"""The champion in a bucket: readers see the old one or the new one, whatever is killed in between."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sim4seg.config.register import Register
from sim4seg.digest import digest_directory
from sim4seg.errors import RegistryError, Unreachable
from sim4seg.registry import history, promote, resolve, rollback
from tests.data.test_s3 import server, store  # noqa: F401
from tests.ports import free_port
from tests.settings import settings

pytestmark = pytest.mark.slow

CHILD = """
import os, signal, sys
from pathlib import Path
from sim4seg.config.register import Register
from sim4seg.registry import promote
from sim4seg.storage import bundle
from tests.settings import settings

step, count = sys.argv[3], int(sys.argv[4])
real, calls = getattr(bundle, step), []

def dying(*arguments):
    calls.append(1)
    if len(calls) > count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

setattr(bundle, step, dying)
promote(settings(Register, export=sys.argv[2]), 2, Path(sys.argv[1]))
"""


def keys(store):  # noqa: F811
    return sorted(item["Key"] for item in store.list_objects_v2(Bucket=store.bucket).get("Contents", ()))


def test_killed_before_the_switch_the_old_one_stands(workspace, store):  # noqa: F811
    params = settings(Register, export=f"s3://{store.bucket}/site")
    champion = f"{params.export}/champion"
    workspace.add(params)
    assert promote(params, workspace=workspace.root).message.endswith(f"exported to {champion}/current.json")
    folder, label = resolve(champion, workspace.root)
    assert label == "sim4seg/1" and digest_directory(folder) == digest_directory(workspace.model)
    counts = [len(keys(store))]
    workspace.add(params, giou=0.65)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for step, count in (("_stored_digest", 5), ("write_small", 0)):
        command = [sys.executable, "-c", CHILD, str(workspace.root), params.export, step, str(count)]
        assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
        counts.append(len(keys(store)))
        assert resolve("models:/sim4seg@champion", workspace.root)[1] == "sim4seg/2"
        assert resolve(champion, workspace.root)[1] == "sim4seg/1"
    assert counts[0] < counts[1] < counts[2], "part of the files, then all of them"
    assert "exported to" in promote(params, workspace=workspace.root).message
    assert resolve(champion, workspace.root)[1] == "sim4seg/2" and len(keys(store)) == counts[2]
    assert "exported" not in promote(params, workspace=workspace.root).message, "it is there already"
    rollback(params, 1, "", workspace.root)
    assert resolve(champion, workspace.root)[1] == "sim4seg/1" and len(history(workspace.root)) == 3


def test_what_is_wrong_with_a_bucket_is_told(workspace, store, monkeypatch):  # noqa: F811
    params = settings(Register, export=f"s3://{store.bucket}/a")
    monkeypatch.setenv("SIM4SEG_EXPORT", f"s3://{store.bucket}/b")
    workspace.add(params)
    promote(params, workspace=workspace.root)
    champion = f"s3://{store.bucket}/b/champion"
    weights = next(key for key in keys(store) if key.endswith("model/model.safetensors"))
    assert weights.startswith("b/versions/1-")
    store.put_object(Bucket=store.bucket, Key=weights, Body=b"other")
    with pytest.raises(RegistryError, match="not the one that was exported"):
        resolve(champion, workspace.root)
    assert not list((workspace.root / "work/exported").iterdir())
    listed = f"{weights.split('model/')[0]}manifest.json"
    manifest = json.loads(store.get_object(Bucket=store.bucket, Key=listed)["Body"].read())
    manifest["files"]["../../outside"] = "0" * 64
    store.put_object(Bucket=store.bucket, Key=listed, Body=json.dumps(manifest).encode())
    with pytest.raises(RegistryError, match="is not the one whose SHA-256 it gives"):
        resolve(champion, workspace.root)
    with pytest.raises(RegistryError, match="no champion was exported"):
        resolve(f"s3://{store.bucket}/nowhere/champion", workspace.root)
    with pytest.raises(RegistryError, match="as an exported champion"):
        resolve(f"s3://{store.bucket}/b", workspace.root)
    monkeypatch.setenv("SIM4SEG_EXPORT", "s3://no-such-bucket/x")
    with pytest.raises(RegistryError, match="the champion is set, but its export is not complete") as caught:
        promote(params, workspace=workspace.root)
    assert "sim4seg promote" in caught.value.remedy
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="the champion is set, but its export is not complete"):
        promote(params, workspace=workspace.root)
