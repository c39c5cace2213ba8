"""Outages are told from refusals, by real closed ports and a server that answers as stores and registries do."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from typer.testing import CliRunner

from sim4seg.cli import app
from sim4seg.errors import SourceError, Unreachable
from sim4seg.storage.client import client, explained
from tests.ports import free_port
from tests.settings import params

pytestmark = pytest.mark.slow

ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>planned</Message></Error>"


class Answer(BaseHTTPRequestHandler):
    """Gives the status, body and length that its server was made with."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body, length = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_POST = do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def answering():
    """Start servers that always answer the same."""
    made = []

    def start(status: int, body: str, length: int | None = None) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.answer = (status, body.encode(), length)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        made.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    # boto3 waits between its six attempts; one is enough to see what it makes of an answer.
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)


def listing() -> None:
    with explained("s3://b/"):
        client().list_objects_v2(Bucket="b")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", Unreachable),
        (500, "InternalError", Unreachable),
        (502, "", Unreachable),
        (429, "Throttling", Unreachable),
        (400, "RequestTimeout", Unreachable),
        (403, "AccessDenied", SourceError),
        (404, "NoSuchBucket", SourceError),
        (400, "InvalidRequest", SourceError),
    ],
)
def test_what_a_store_answers(answering, monkeypatch, status, code, kind):
    monkeypatch.setenv("AWS_ENDPOINT_URL", answering(status, ERROR.format(code=code) if code else "gone"))
    with pytest.raises(kind) as caught:
        listing()
    assert caught.value.exit_code == (75 if kind is Unreachable else 1)
    assert caught.value.remedy


def test_a_closed_port_and_a_broken_connection(answering, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="cannot be reached"):
        listing()
    monkeypatch.setenv("AWS_ENDPOINT_URL", answering(200, "<a", 10_000))
    with pytest.raises(Unreachable):
        listing()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nowhere")
    with pytest.raises(SourceError, match="Invalid endpoint"):
        listing()


def test_the_command_line_ends_with_75(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("SIM4SEG_SOURCE_ROOT", raising=False)
    changed = params(fetch={"source": "s3", "root": "s3://bucket/x"}).model_dump(mode="json", by_alias=True)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(changed))
    done = CliRunner().invoke(app, ["snapshot"])
    assert done.exit_code == 75 and "remedy" in done.stderr and "Traceback" not in done.stderr
