"""PostgreSQL: a cluster of the stack's own, or databases in a server that runs already."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from infra.identities import write_private
from infra.local.service import Service, StackError

DATABASES = {"prefect": "prefect", "mlflow": "mlflow", "mlflow_auth": "mlflow"}
"""Database and the role that owns it."""
SYSTEM_USER = "postgres"
"""Whom PostgreSQL runs as when we are root, which it refuses."""


@dataclass(frozen=True)
class Database:
    """Where a client finds its database; the password goes by PGPASSWORD, never into an address."""

    host: str
    port: int
    name: str
    user: str
    password: str

    def uri(self, driver: str) -> str:
        """Address for SQLAlchemy with ``driver`` (``asyncpg`` or ``psycopg2``)."""
        return f"postgresql+{driver}://{self.user}@{self.host}:{self.port}/{self.name}"

    def connect(self) -> psycopg2.extensions.connection:
        """A connection that commits each statement."""
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.name,
            user=self.user,
            password=self.password or None,
            connect_timeout=5,
        )
        connection.autocommit = True
        return connection

    def probe(self) -> None:
        """One query."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("select 1")
        finally:
            connection.close()


def binaries() -> Path:
    """Folder of PostgreSQL's programs, the newest installed.

    Raises:
        StackError: PostgreSQL's server is not installed.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    if installed:
        return installed[-1].parent
    if on_path:
        return Path(on_path).resolve().parent
    raise StackError(
        "PostgreSQL's server is not installed",
        where="/usr/lib/postgresql",
        remedy="install it (Debian: apt-get install postgresql), or name a running one with --postgres URL",
    )


def _system_user() -> str | None:
    return SYSTEM_USER if os.geteuid() == 0 else None


def _run(command: list[str]) -> None:
    user = _system_user()
    if user:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise StackError(f"{Path(command[-1]).name}: {done.stderr.strip()[-800:]}", where=" ".join(command[:1]))


def _reachable(folder: Path) -> bool:
    """Whether another user can come to ``folder``: all folders above let others pass."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.resolve().parents))


def cluster_folder(folder: Path) -> Path:
    """Where the cluster's files lie: in the stack's folder, or, if PostgreSQL's user may not go there, in TMPDIR."""
    if _system_user() is None or _reachable(folder):
        return folder / "postgres"
    mark = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"sim4seg-postgres-{mark}"


def _create_cluster(folder: Path, cluster: Path, password: str) -> None:
    """Make the cluster aside and move it into place, so that a half made one is never started."""
    aside = cluster.with_name(f"{cluster.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True, mode=0o700)
    handed = aside.parent / f"{aside.name}.password"
    write_private(handed, password)
    try:
        if user := _system_user():
            entry = pwd.getpwnam(user)
            for path in (aside, handed):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        _run(
            [
                str(binaries() / "initdb"), "--auth=scram-sha-256", "--username=postgres", f"--pwfile={handed}",
                "--encoding=UTF8", "--locale=C", "--no-sync", f"--pgdata={aside}",
            ]
        )  # fmt: skip
    finally:
        handed.unlink(missing_ok=True)
    aside.rename(cluster)
    if cluster.parent != folder:
        link = folder / "postgres"
        link.unlink(missing_ok=True)
        link.symlink_to(cluster)


def own_server(folder: Path, port: int, secrets: Mapping[str, str]) -> tuple[Service, Database]:
    """The stack's own server, passwords asked for, on loopback only; and its administrator's database.

    Without fsync: killed processes lose nothing, only a power cut could; tests start it dozens of times.
    """
    admin = Database("127.0.0.1", port, "postgres", "postgres", secrets["POSTGRES_PASSWORD"])
    cluster = cluster_folder(folder)
    if not (cluster / "PG_VERSION").exists():
        _create_cluster(folder, cluster, admin.password)
    command = [
        str(binaries() / "postgres"), "-D", str(cluster), "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        "-c", "unix_socket_directories=", "-c", "max_connections=100", "-c", "fsync=off",
    ]  # fmt: skip
    service = Service(
        name="postgres",
        command=command,
        folder=folder,
        environment={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": "/"},
        probe=admin.probe,
        directory=Path("/"),
        user=_system_user(),
        stop_signal=signal.SIGINT,  # fast shutdown: does not wait for clients
    )
    return service, admin


def running_server(url: str) -> Database:
    """The server that ``url`` names: ``postgresql://USER[:PASSWORD]@HOST:PORT/DATABASE``; may create databases."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
        raise StackError(f"not an address of PostgreSQL: {url.split('@')[-1]!r}", remedy="postgresql://USER@HOST/NAME")
    name = parts.path.strip("/") or "postgres"
    return Database(parts.hostname, parts.port or 5432, name, parts.username or "postgres", parts.password or "")


def name_databases(admin: Database, prefix: str, passwords: Mapping[str, str] | None) -> dict[str, Database]:
    """The servers' databases, whether they are there or not.

    Args:
        admin: a database of the server.
        prefix: put before each name.
        passwords: role to password, to give each database a role of its own; None = all belong to ``admin``'s.
    """
    return {
        name: Database(admin.host, admin.port, prefix + name, role, passwords[role])
        if passwords
        else Database(admin.host, admin.port, prefix + name, admin.user, admin.password)
        for name, role in DATABASES.items()
    }


def create_databases(admin: Database, databases: Mapping[str, Database], *, with_roles: bool) -> None:
    """Make the databases, and with ``with_roles`` their owners, that are missing; others may not connect to them."""
    connection = admin.connect()
    try:
        with connection.cursor() as cursor:
            for one in databases.values():
                owner, name = sql.Identifier(one.user), sql.Identifier(one.name)
                cursor.execute("select 1 from pg_roles where rolname = %s", (one.user,))
                if with_roles and cursor.fetchone() is None:
                    make = sql.SQL("create role {} login password {}")
                    cursor.execute(make.format(owner, sql.Literal(one.password)))
                cursor.execute("select 1 from pg_database where datname = %s", (one.name,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("create database {} owner {}").format(name, owner))
                cursor.execute(sql.SQL("revoke connect on database {} from public").format(name))
    finally:
        connection.close()


def drop_databases(admin: Database, databases: Mapping[str, Database]) -> None:
    """Remove the databases, whoever is connected."""
    connection = admin.connect()
    try:
        with connection.cursor() as cursor:
            for one in databases.values():
                cursor.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(one.name)))
    finally:
        connection.close()
