"""The registry behind a real MLflow server that hands out artifacts too: the same answers, and what is kept here."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from sim4seg.config.register import Register
from sim4seg.digest import digest_directory
from sim4seg.errors import NotPromoted
from sim4seg.registry import assess, decision, history, promote, resolve, rollback
from tests.ports import free_port
from tests.settings import settings

pytestmark = pytest.mark.slow

PARAMS = settings(Register)


@pytest.fixture
def artifacts(workspace, tmp_path_factory, monkeypatch):
    """Folder in which the server keeps what is uploaded."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{workspace.root / 'mlflow.db'}", "--serve-artifacts"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # Its job runner starts seven processes, in sessions of their own, that would outlive it.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "log", "w") as log:
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + 180
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert child.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    yield folder / "artifacts"
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_promote_compare_and_roll_back(workspace, artifacts, capsys):
    workspace.add(PARAMS)
    promote(PARAMS, workspace=workspace.root)
    workspace.add(PARAMS, giou=0.65)
    found = assess(PARAMS, workspace=workspace.root)
    assert not found.failed and found.comparison.mean["giou"].difference == pytest.approx(0.05)
    assert promote(PARAMS, workspace=workspace.root).replaced == "1"
    assert decision(PARAMS, 2, workspace.root).startswith("promoted")
    rollback(PARAMS, 1, "bad at night", workspace.root)
    folder, label = resolve("models:/sim4seg@champion", workspace.root)
    assert label == "sim4seg/1" and digest_directory(folder) == digest_directory(workspace.model)
    assert [entry.action for entry in history(workspace.root, PARAMS)] == ["promote", "promote", "rollback"]
    assert capsys.readouterr().out == "", "MLflow prints nothing of its own"
    # What is kept here does not hide that the store's own copy was changed.
    for weights in artifacts.rglob("model.safetensors"):
        weights.write_bytes(b"x" + weights.read_bytes()[1:])
    with pytest.raises(NotPromoted, match="not those that were registered"):
        promote(PARAMS, 2, workspace.root)
