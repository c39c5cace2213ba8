"""Prefect server, MLflow server and a Prefect worker as services."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError

from infra.identities import secret_name
from infra.local.postgres import Database
from infra.local.service import Service
from infra.local.web import request

PREFECT_USER = "admin"
MLFLOW_ADMIN = "admin"
MLFLOW_USER = "pipeline"
"""Registers and promotes; may not make users."""


def prefect_login(secrets: Mapping[str, str]) -> str:
    """``user:password`` of the Prefect server."""
    return f"{PREFECT_USER}:{secrets['PREFECT_PASSWORD']}"


def probe_prefect(url: str, login: str) -> None:
    """A question that Prefect's API at ``url`` asks its database."""
    request(f"{url}/flows/count", login=login, body={})


def probe_mlflow(address: str, login: str) -> None:
    """A question that the MLflow server at ``address`` asks its database."""
    request(f"{address}/api/2.0/mlflow/experiments/search", login=login, body={"max_results": 1})


def probe_worker(url: str, login: str, pool: str) -> None:
    """Whether Prefect's API at ``url`` knows a live worker of ``pool``; raises ConnectionError if not."""
    workers = request(f"{url}/work_pools/{pool}/workers/filter", login=login, body={})
    if not any(one["status"] == "ONLINE" for one in workers):
        raise ConnectionError(f"no worker of pool {pool} is online")


def prefect_server(
    folder: Path, port: int, database: Database, secrets: Mapping[str, str], base: Mapping[str, str]
) -> Service:
    """Prefect's API, user interface and scheduler on one port; state in PostgreSQL."""
    url, login = f"http://127.0.0.1:{port}/api", prefect_login(secrets)
    home = folder / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        **base,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.uri("asyncpg"),
        "PGPASSWORD": database.password,
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_API_AUTH_STRING": login,  # its own services are clients too
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_API_URL": url,
        # The newer pages ask an analytics company for its settings before they look whether they may.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        # In memory, as by default, a restart would forget who holds a concurrency slot, and the slot stay taken.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    return Service(
        name="prefect",
        command=[sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        folder=folder,
        environment=environment,
        probe=lambda: probe_prefect(url, login),
    )


def mlflow_server(
    folder: Path,
    port: int,
    databases: Mapping[str, Database],
    endpoint: str,
    secrets: Mapping[str, str],
    base: Mapping[str, str],
) -> Service:
    """MLflow's tracking server and registry behind its basic-auth application; artifacts go through it to S3."""
    auth = folder / "mlflow-auth.ini"
    auth.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {databases['mlflow_auth'].uri('psycopg2')}\n"
        f"admin_username = {MLFLOW_ADMIN}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    environment = {
        **base,
        "MLFLOW_BACKEND_STORE_URI": databases["mlflow"].uri("psycopg2"),
        "PGPASSWORD": databases["mlflow"].password,
        "MLFLOW_AUTH_CONFIG_PATH": str(auth),
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets["MLFLOW_ADMIN_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets["MLFLOW_FLASK_SERVER_SECRET_KEY"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # runs code for users; nobody here needs it
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "mlflow",
        "AWS_SECRET_ACCESS_KEY": secrets[secret_name("mlflow")],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    login = f"{MLFLOW_ADMIN}:{secrets['MLFLOW_ADMIN_PASSWORD']}"
    return Service(
        name="mlflow",
        command=[
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--app-name", "basic-auth", "--serve-artifacts", "--artifacts-destination", "s3://mlflow",
        ],
        folder=folder,
        environment=environment,
        probe=lambda: probe_mlflow(f"http://127.0.0.1:{port}", login),
    )  # fmt: skip


def create_mlflow_user(address: str, secrets: Mapping[str, str]) -> None:
    """The pipeline's user on the MLflow server at ``address``; nothing happens if it is there."""
    login = f"{MLFLOW_ADMIN}:{secrets['MLFLOW_ADMIN_PASSWORD']}"
    user = {"username": MLFLOW_USER, "password": secrets["MLFLOW_PIPELINE_PASSWORD"]}
    try:
        request(f"{address}/api/2.0/mlflow/users/create", login=login, body=user)
    except HTTPError as error:
        if b"RESOURCE_ALREADY_EXISTS" not in error.read():
            raise


def worker(folder: Path, workspace: Path, pool: str, environment: Mapping[str, str]) -> Service:
    """A Prefect worker for a process pool, working in ``workspace``; ``environment`` is a client's."""
    url, login = environment["PREFECT_API_URL"], environment["PREFECT_API_AUTH_STRING"]

    return Service(
        name="worker",
        command=[sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
        folder=folder,
        environment={**environment, "PREFECT_HOME": str(folder / "prefect-worker")},
        probe=lambda: probe_worker(url, login, pool),
        directory=workspace,
    )
