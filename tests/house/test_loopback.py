"""A proxy in the environment is not asked for servers on this machine, and is for all others."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.stack import Stack
from sim4seg.loopback import LOOPBACK, exceptions_from_proxy, spare_loopback

ROOT = Path(__file__).parents[2]
DEAD = "http://127.0.0.1:9"
HERE = ",".join(LOOPBACK)


@pytest.mark.parametrize(
    ("given", "upper", "lower"),
    [
        ({}, HERE, HERE),
        ({"NO_PROXY": "pacs.hospital, 10.0.0.0/8"}, f"pacs.hospital,10.0.0.0/8,{HERE}", None),
        ({"no_proxy": ".hospital"}, f".hospital,{HERE}", None),
        ({"NO_PROXY": "a", "no_proxy": "b"}, f"a,{HERE}", f"b,{HERE}"),
        ({"no_proxy": "localhost,a"}, "localhost,a,127.0.0.1,::1", None),
        ({"no_proxy": "*"}, "*", None),
        ({"NO_PROXY": ""}, HERE, HERE),
    ],
)
def test_what_the_user_has_there_stays(given, upper, lower):
    made = exceptions_from_proxy(given)
    assert made == {"NO_PROXY": upper, "no_proxy": lower or upper}
    assert exceptions_from_proxy(made) == made, "a child adds nothing more"


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_set_only_where_there_is_a_proxy(monkeypatch, name):
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    spare_loopback()
    assert environment == {}
    environment[name] = DEAD
    spare_loopback()
    assert environment["no_proxy"] == environment["NO_PROXY"] == HERE


def test_the_stack_s_clients_keep_the_user_s_exceptions(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "pacs.hospital")
    monkeypatch.delenv("no_proxy", raising=False)
    stack = object.__new__(Stack)
    stack.folder, stack.ports = ROOT, dict.fromkeys(("prefect", "mlflow", "s3"), 1)
    stack.secrets = dict.fromkeys(
        ("MLFLOW_PIPELINE_PASSWORD", "PREFECT_PASSWORD", "PREFECT_AUTH_STRING", "S3_READER_SECRET"), "x"
    )
    assert stack.env()["no_proxy"] == f"pacs.hospital,{HERE}"


@pytest.fixture
def server() -> Iterator[int]:
    """Answers 200 to all; its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_port
        made.shutdown()


ASK = """
import urllib.request, sys
{entry}
import httpx, requests, botocore.utils
url = sys.argv[1]
assert httpx.get(url).status_code == 200
assert requests.get(url).status_code == 200
assert urllib.request.urlopen(url).status == 200
assert botocore.utils.get_environ_proxies(url) == {{}}
assert botocore.utils.get_environ_proxies("http://pacs.hospital/") == {{}}
assert botocore.utils.get_environ_proxies("http://elsewhere.org/")["http"] == "http://127.0.0.1:9"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry",
    [
        "from flows.prefect_home import configure; configure(server=True)",
        "import sim4seg.cli.app",
        "import stages.entry; stages.entry.load_params = lambda: None\n"
        "try: stages.entry.run('fetch', print)\nexcept SystemExit: pass",
    ],
    ids=["flow", "command", "stage"],
)
def test_libraries_reach_a_server_here_past_a_proxy_that_is_dead(server, entry):
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    proxies = {name: DEAD for low in ("http_proxy", "https_proxy") for name in (low, low.upper())}
    environment = {**kept, **proxies, "NO_PROXY": "pacs.hospital"}
    command = [sys.executable, "-c", ASK.format(entry=entry), f"http://127.0.0.1:{server}/"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
