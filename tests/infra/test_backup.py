"""What was saved of a stack comes back in a new one, which has never run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.backup import BackupError, main, restore_buckets
from infra.identities import ADMIN
from infra.local.secrets import FILE
from infra.local.stack import Stack
from infra.local.web import request
from infra.secret_scan import secrets_found
from tests.infra.test_local_stack import CLIENT, ask, logins
from tests.ports import PORTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def used(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder that has registered a model and exported it."""
    workspace = tmp_path_factory.mktemp("project")
    done = subprocess.run(
        [sys.executable, "-c", CLIENT.replace('"trial"', '"saved"')],
        env={**os.environ, **stack.env()},
        cwd=workspace,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (workspace / "output.txt").write_text(done.stdout + done.stderr)
    (workspace / "registry").mkdir()
    (workspace / "registry/promotions.jsonl").write_text('{"version": "1"}\n')
    stack.s3("exporter").put_object(Bucket="champion", Key="saved/späte Größe?", Body=bytes(range(256)) * 50_000)
    url, login = logins(stack)["prefect"]
    request(url.replace("filter", ""), login=login, body={"name": "saved"})
    return workspace


def test_no_secret_is_left_in_what_the_stack_and_its_clients_wrote(stack: Stack, used: Path, tmp_path):
    assert main(["save", str(tmp_path / "backup"), "--dir", str(stack.folder)]) == 0
    for name in stack.databases:  # as plain text, where a search finds things
        dump, text = tmp_path / f"backup/{name}.dump", tmp_path / f"backup/{name}.sql"
        subprocess.run(["pg_restore", f"--file={text}", str(dump)], check=True)
        assert "CREATE TABLE" in text.read_text()
    private = [stack.folder / name for name in (FILE, "s3.json", "aws-credentials")]
    folders = [used, tmp_path, *(f for f in stack.folder.iterdir() if f.name != "postgres")]
    assert secrets_found(stack.secrets.values(), folders, ignore=private) == []
    assert len(secrets_found(stack.secrets.values(), private)) >= len(stack.secrets)


def test_what_was_saved_comes_back_in_a_new_stack(stack: Stack, used: Path, tmp_path):
    saved = tmp_path / "backup"
    assert main(["save", str(saved), "--dir", str(stack.folder), "--workspace", str(used)]) == 0
    (tmp_path / "project").mkdir()
    (tmp_path / "stack").mkdir()
    shutil.copy(stack.folder / FILE, tmp_path / "stack" / FILE)  # from the password store, in earnest
    other = Stack(tmp_path / "stack", ports=PORTS)
    try:
        words = ["restore", str(saved), "--dir", str(other.folder), "--workspace", str(tmp_path / "project")]
        assert main(words) == 0
        assert "saved" in [flow["name"] for flow in ask(other, "prefect")]
        models = {m["name"]: m for m in ask(other, "mlflow")["registered_models"]}
        assert models["saved"]["aliases"][0] == {"alias": "champion", "version": "1"}
        script = (
            "from mlflow.artifacts import download_artifacts\n"
            "print(open(download_artifacts('models:/saved@champion') + '/weights.txt').read())"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **other.env()}, capture_output=True, text=True
        )
        assert done.stdout.strip() == "weights", done.stderr[-2000:]
        big = other.s3("exporter").get_object(Bucket="champion", Key="saved/späte Größe?")["Body"].read()
        assert big == bytes(range(256)) * 50_000
        assert (tmp_path / "project/registry/promotions.jsonl").read_text() == '{"version": "1"}\n'
    finally:
        other.purge()


def test_a_damaged_backup_puts_nothing(stack: Stack, used: Path, tmp_path):
    saved = tmp_path / "backup"
    assert main(["save", str(saved), "--dir", str(stack.folder)]) == 0
    assert main(["save", str(saved), "--dir", str(stack.folder)]) == 1  # never over another
    stack.s3(ADMIN).delete_object(Bucket="champion", Key="saved/späte Größe?")
    (saved / "buckets/champion/00000000").write_bytes(b"changed")
    with pytest.raises(BackupError, match="was changed"):
        restore_buckets(stack.s3(ADMIN), saved)
    (saved / "mlflow.dump").unlink()
    assert main(["restore", str(saved), "--dir", str(stack.folder)]) == 1
    assert "saved/späte Größe?" not in [
        o["Key"] for o in stack.s3(ADMIN).list_objects_v2(Bucket="champion").get("Contents", [])
    ]
