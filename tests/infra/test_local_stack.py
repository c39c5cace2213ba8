"""The stack as processes: who is let in, and that a killed service comes back with its data."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from urllib.error import HTTPError, URLError

import psutil
import pytest

from infra.local.__main__ import main
from infra.local.secrets import load_secrets
from infra.local.service import Service, StackError
from infra.local.stack import Stack
from infra.local.web import request

pytestmark = pytest.mark.slow

CLIENT = """
import os, pathlib, mlflow
from mlflow import MlflowClient
client = MlflowClient()
experiment = client.create_experiment("trial")
run = client.create_run(experiment)
pathlib.Path("weights.txt").write_text("weights")
client.log_artifact(run.info.run_id, "weights.txt", "model")
client.create_registered_model("trial")
version = client.create_model_version("trial", f"{run.info.artifact_uri}/model", run.info.run_id)
client.set_registered_model_alias("trial", "champion", version.version)
"""


def logins(stack: Stack) -> dict[str, tuple[str, str]]:
    env = stack.env()
    return {
        "prefect": (f"{env['PREFECT_API_URL']}/flows/filter", env["PREFECT_API_AUTH_STRING"]),
        "mlflow": (
            f"{env['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/search",
            f"{env['MLFLOW_TRACKING_USERNAME']}:{env['MLFLOW_TRACKING_PASSWORD']}",
        ),
    }


def ask(stack: Stack, service: str, login: str | None = None):
    url, right = logins(stack)[service]
    body = {} if service == "prefect" else None
    return request(url, login=right if login is None else login, body=body)


@pytest.mark.parametrize("service", ["prefect", "mlflow"])
@pytest.mark.parametrize("login", ["", "admin:wrong", "nobody:x"])
def test_nobody_comes_in_without_a_password(stack: Stack, service: str, login: str):
    with pytest.raises(HTTPError) as caught:
        ask(stack, service, login)
    assert caught.value.code == 401


def test_the_database_asks_for_its_password_too(stack: Stack):
    import psycopg2

    for name, one in stack.databases.items():
        one.probe()
        wrong = {"host": one.host, "port": one.port, "dbname": one.name, "user": one.user, "password": "wrong"}
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(**wrong)
        if name != "prefect":  # a role reaches its own databases only
            with pytest.raises(psycopg2.OperationalError, match="permission denied"):
                psycopg2.connect(**{**wrong, "user": "prefect", "password": stack.databases["prefect"].password})


def test_everything_listens_on_loopback_only(stack: Stack):
    for service in stack:
        assert service.process is not None
        family = [service.process, *service.process.children(recursive=True)]
        heard = [c for p in family for c in p.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
        assert heard and {c.laddr.ip for c in heard} == {"127.0.0.1"}, service.name


def test_secrets_are_in_private_files_only_and_not_on_a_command_line(stack: Stack):
    secrets = list(stack.secrets.values())
    for file in (f for f in stack.folder.rglob("*") if f.is_file() and "postgres" not in f.parts):
        content = file.read_bytes()
        if any(secret.encode() in content for secret in secrets):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            assert file.name in ("secrets.env", "s3.json", "aws-credentials"), file
    for service in stack:
        assert not any(secret in word for secret in secrets for word in service.process.cmdline())


def test_killed_services_come_back_at_their_place_with_their_data(stack: Stack, tmp_path):
    env = {**os.environ, **stack.env("mlflow")}
    done = subprocess.run([sys.executable, "-c", CLIENT], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    url, login = logins(stack)["prefect"]
    request(url.replace("filter", ""), login=login, body={"name": "kept"})
    stack.s3("exporter").put_object(Bucket="champion", Key="kept", Body=b"bytes")
    for service in stack:
        service.kill()
        assert service.state == "died"
    assert main(["status", "--dir", str(stack.folder)]) == 1
    with pytest.raises(URLError, match="refused"):
        ask(stack, "mlflow")
    stack.up()
    assert main(["status", "--dir", str(stack.folder)]) == 0
    assert "kept" in [flow["name"] for flow in ask(stack, "prefect")]
    models = {m["name"]: m for m in ask(stack, "mlflow")["registered_models"]}
    assert models["trial"]["aliases"] == [{"alias": "champion", "version": "1"}]
    assert stack.s3("exporter").get_object(Bucket="champion", Key="kept")["Body"].read() == b"bytes"
    kept = stack.s3("mlflow").list_objects_v2(Bucket="mlflow")["Contents"]
    assert {one["Key"].rsplit("/", 1)[1] for one in kept} == {"weights.txt"}  # through the server, into the bucket


def test_env_is_for_a_shell(stack: Stack, capsys: pytest.CaptureFixture[str]):
    assert main(["env", "--dir", str(stack.folder), "--role", "dvc"]) == 0
    script = f"{capsys.readouterr().out}\necho $AWS_ACCESS_KEY_ID $MLFLOW_TRACKING_URI"
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["dvc", stack.env()["MLFLOW_TRACKING_URI"]]


def test_a_service_that_cannot_start_says_why(tmp_path):
    def probe():
        raise ConnectionError("nobody listens")

    command = [sys.executable, "-c", "import sys; sys.exit('port is taken')"]
    broken = Service("broken", command, tmp_path, dict(os.environ), probe)
    with pytest.raises(StackError, match="ended at its start: nobody listens\n.*port is taken"):
        broken.start()
    assert broken.state == "died"


def test_a_reused_process_id_is_not_taken_for_the_service(tmp_path):
    service = Service("other", ["true"], tmp_path, dict(os.environ), lambda: None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/other.json").write_text(json.dumps({"pid": os.getpid(), "started": "another run 1"}))
    assert service.process is None
    service.stop()  # must not end this test
    assert service.state == "stopped"


def test_secrets_that_others_can_read_are_refused(tmp_path):
    made = load_secrets(tmp_path)
    assert load_secrets(tmp_path) == made and len(set(made.values())) == len(made)
    (tmp_path / "secrets.env").chmod(0o644)
    with pytest.raises(StackError, match="others can read"):
        load_secrets(tmp_path)
