"""Pushing a model, as a real process against a server that speaks just enough of the Hub's protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from sim4seg.errors import ModelError
from sim4seg.model.weights.push import push

pytestmark = pytest.mark.slow

TOKEN = "hf_" + "x" * 20


class Hub(BaseHTTPRequestHandler):
    """Repositories are made, every file goes inline into one commit; another token is refused."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = [json.loads(line) for line in body.decode().splitlines() if line]
        self.server.calls.append((self.path, lines))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid token"})
        if self.path == "/api/repos/create":
            return self.answer(200, {"url": f"http://{self.headers['Host']}/lab/model"})
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in lines[0]["files"]]
            return self.answer(200, {"files": files})
        address = f"http://{self.headers['Host']}/lab/model/commit/abc"
        return self.answer(200, {"commitUrl": address, "commitOid": "abc"})

    def do_GET(self):
        self.answer(404, {"error": "not found"})

    def answer(self, status, content):
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.calls = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.arange(3.0)}, folder / "model.safetensors")
    for name in ("config.json", "processor.json", "tokenizer.json", "patients.csv", "secrets.json"):
        (folder / name).write_text("{}")
    return folder


def run(model: Path, hub, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    clean |= {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(model.parent / "home")}
    command = [sys.executable, "-m", "sim4seg.cli", "push", str(model), "lab/model"]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=clean | environment)


def test_a_model_is_sent_and_nothing_else_of_its_folder(model, hub):
    done = run(model, hub, HF_HUB_OFFLINE="0", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    made = next(lines[0] for path, lines in hub.calls if path == "/api/repos/create")
    assert made["name"] == "model" and made["organization"] == "lab"
    assert made.get("private") is True or made.get("visibility") == "private"
    commit = next(lines for path, lines in hub.calls if "/commit/" in path)
    files = [line["value"] for line in commit if line["key"] == "file"]
    sent = {file["path"]: base64.b64decode(file["content"]) for file in files}
    assert sent == {name: (model / name).read_bytes() for name in sent}
    assert set(sent) == {"config.json", "model.safetensors", "processor.json", "tokenizer.json"}
    assert "/lab/model/commit/abc" in done.stdout


def test_offline_is_the_default(model, hub):
    done = run(model, hub, HF_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "HF_HUB_OFFLINE=0" in done.stderr
    assert hub.calls == []


@pytest.fixture
def online(hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """This process as if it had been started with HF_HUB_OFFLINE=0, and somebody had logged in."""
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
    return monkeypatch


def test_a_stored_login_is_not_used_and_a_token_is_never_shown(model, hub, online):
    online.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ModelError, match="stored logins are not used"):
        push(model, "lab/model")
    assert hub.calls == []
    online.setenv("HF_TOKEN", TOKEN + "y")
    with pytest.raises(ModelError, match="the Hub did not take it: .*401") as refused:
        push(model, "lab/model")
    assert TOKEN not in str(refused.value)


def test_a_folder_without_a_whole_model_is_not_sent(model, hub, online):
    online.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ModelError, match="the Hub did not take it"):
        push(model, "not/a/name")
    (model / "config.json").rename(model / "other.json")
    with pytest.raises(ModelError, match="not a model of ours"):
        push(model, "lab/model")
    (model / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="the header claims"):
        push(model, "lab/model")
    assert hub.calls == []
