"""The whole stack: PostgreSQL, S3 store, Prefect server, MLflow server, and a worker if one is asked for."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from infra.identities import ADMIN, ROLES, secret_name, write_private
from infra.local import object_store, postgres, servers
from infra.local.secrets import load_secrets
from infra.local.service import Service, StackError
from sim4seg.atomic import write_json
from sim4seg.loopback import exceptions_from_proxy
from sim4seg.offline import SILENT

OWN = "own"
POOL = "sim4seg"
"""Name of the process work pool."""
PORTS = range(15000, 32000)
"""Below the range that the system gives to outgoing connections, see :func:`free_ports`."""


def free_ports(count: int, ports: range = PORTS) -> list[int]:
    """Ports of loopback, all different, that nothing listens on now.

    From below the range that the system gives to outgoing connections: one of those could take the port of a server
    that is down for a moment.

    Args:
        count: how many.
        ports: where from.
    """
    bound: list[socket.socket] = []
    try:
        while len(bound) < count:
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", random.SystemRandom().choice(ports)))
            except OSError:
                one.close()
                continue
            bound.append(one)
        return [int(one.getsockname()[1]) for one in bound]
    finally:
        for one in bound:
            one.close()


class Stack:
    """The services of one folder; whoever opens the folder again finds them, running or not.

    Args:
        folder: holds everything: data, logs, process records and secrets.
        server: ``own``, or the address of a PostgreSQL server in which three databases are made.
        workspace: project folder for a Prefect worker; None = no worker.
        pool: the worker's process work pool.
        ports: range that a new stack takes its ports from.

    Raises:
        StackError: the folder belongs to a stack of other options, or a program is missing.
    """

    def __init__(
        self,
        folder: Path,
        server: str | None = None,
        workspace: Path | None = None,
        pool: str = POOL,
        ports: range = PORTS,
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.options = self._options(server, workspace, pool, ports)
        self.ports: dict[str, int] = self.options["ports"]
        self.secrets = load_secrets(self.folder)
        self.services: dict[str, Service] = {}
        self._build()

    def _options(self, server: str | None, workspace: Path | None, pool: str, ports: range) -> dict[str, Any]:
        """What is kept between commands in ``stack.json``; no secret, so an address with a password is not."""
        file = self.folder / "stack.json"
        options: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        database_server = (server or os.environ.get("SIM4SEG_STACK_POSTGRES") or OWN) if not options else server
        if database_server and database_server != options.get("postgres", database_server):
            raise StackError("this stack keeps its data in another PostgreSQL", where=str(file), remedy="another --dir")
        names = (*object_store.PORTS, "postgres", "prefect", "mlflow")
        fresh = dict(zip(names, free_ports(len(names), ports), strict=True))
        options = {"postgres": database_server, "ports": fresh, "workspace": None, "pool": pool, **options}
        if workspace:
            options |= {"workspace": str(workspace.resolve()), "pool": pool}
        write_json(file, options)
        return options

    def _base(self) -> dict[str, str]:
        """Environment that every server gets: nothing of the user's but where programs are; no call home."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        inherited = {name: os.environ[name] for name in ("TMPDIR", "TZ") if name in os.environ}
        return {**SILENT, **inherited, "PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}

    def _build(self) -> None:
        base = self._base()
        own = self.options["postgres"] == OWN
        if own:
            service, self.admin = postgres.own_server(self.folder, self.ports["postgres"], self.secrets)
            self.services["postgres"] = service
        else:
            self.admin = postgres.running_server(self.options["postgres"])
        self.prefix = "" if own else f"sim4seg_{self.ports['prefect']}_"
        owner = {"prefect": self.secrets["PREFECT_DB_PASSWORD"], "mlflow": self.secrets["MLFLOW_DB_PASSWORD"]}
        self._passwords = owner if own else None
        databases = postgres.name_databases(self.admin, self.prefix, self._passwords)
        self.databases = databases
        self.services["s3"] = object_store.object_store(self.folder, self.ports, self.secrets, base)
        self.services["prefect"] = servers.prefect_server(
            self.folder, self.ports["prefect"], databases["prefect"], self.secrets, base
        )
        self.services["mlflow"] = servers.mlflow_server(
            self.folder, self.ports["mlflow"], databases, self.endpoint, self.secrets, base
        )
        if self.options["workspace"]:
            workspace = Path(self.options["workspace"])
            client = {**base, **self.env()}
            self.services["worker"] = servers.worker(self.folder, workspace, self.options["pool"], client)

    @property
    def endpoint(self) -> str:
        """Address of the S3 store."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    def __getitem__(self, name: str) -> Service:
        return self.services[name]

    def __iter__(self) -> Iterator[Service]:
        return iter(self.services.values())

    def __enter__(self) -> Stack:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def up(self) -> None:
        """Start what does not run, wait until all answer, and make databases, buckets and users that are missing.

        Raises:
            StackError: a service did not come up; those that did stay.
        """
        self.start_stores(wait=False)
        for name in ("prefect", "mlflow"):
            self[name].start(wait=False)
        for name in ("s3", "prefect", "mlflow"):
            self[name].wait_ready()
        object_store.create_buckets(self.s3(ADMIN))
        servers.create_mlflow_user(f"http://127.0.0.1:{self.ports['mlflow']}", self.secrets)
        self._write_profiles()
        if "worker" in self.services:
            self["worker"].start()

    def start_stores(self, wait: bool = True) -> None:
        """Start PostgreSQL and the S3 store only, with databases and, with ``wait``, buckets; for a restore."""
        self["s3"].start(wait=False)
        if "postgres" in self.services:
            self["postgres"].start()
        postgres.create_databases(self.admin, self.databases, with_roles=self._passwords is not None)
        if wait:
            self["s3"].wait_ready()
            object_store.create_buckets(self.s3(ADMIN))

    def down(self) -> None:
        """Stop all in order, those that others need last."""
        for service in reversed(list(self)):
            service.stop()

    def kill(self) -> None:
        """End all at once; data stay."""
        for service in reversed(list(self)):
            service.kill()
            service.stop()

    def purge(self) -> None:
        """Stop all and remove the folder, with databases and buckets."""
        self.kill()
        if self.options["postgres"] == OWN:
            shutil.rmtree(postgres.cluster_folder(self.folder), ignore_errors=True)
        else:
            postgres.drop_databases(self.admin, self.databases)
        shutil.rmtree(self.folder)

    def s3(self, role: str) -> Any:
        """An S3 client with the keys of ``role``: ``admin`` or one of :data:`infra.identities.ROLES`."""
        return object_store.client(self.endpoint, role, self.secrets[secret_name(role)])

    def _write_profiles(self) -> None:
        """The roles' keys as AWS profiles, for a client that needs several: DVC's remote has its `profile` option."""
        lines = [
            f"[{role}]\naws_access_key_id = {role}\naws_secret_access_key = {self.secrets[secret_name(role)]}\n"
            for role in ROLES
        ]
        write_private(self.folder / "aws-credentials", "\n".join(lines))

    def env(self, role: str = "reader") -> dict[str, str]:
        """What a client needs in its environment: addresses, logins, and the S3 keys of ``role``."""
        return {
            "PREFECT_API_URL": f"http://127.0.0.1:{self.ports['prefect']}/api",
            "PREFECT_API_AUTH_STRING": servers.prefect_login(self.secrets),
            "PREFECT_HOME": str(self.folder / "prefect-client"),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.ports['mlflow']}",
            "MLFLOW_TRACKING_USERNAME": servers.MLFLOW_USER,
            "MLFLOW_TRACKING_PASSWORD": self.secrets["MLFLOW_PIPELINE_PASSWORD"],
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": role,
            "AWS_SECRET_ACCESS_KEY": self.secrets[secret_name(role)],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "aws-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            **exceptions_from_proxy(os.environ),
        }
