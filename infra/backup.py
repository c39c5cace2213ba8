"""Save the team stack and bring it back.

    python -m infra.backup save OUT --dir STACK [--workspace PROJECT]     databases, buckets, promotion log
    python -m infra.backup restore OUT --dir STACK [--workspace PROJECT]  into a new local stack, which it starts
    python -m infra.backup save-buckets OUT                               buckets of the store in the environment
    python -m infra.backup restore-buckets OUT

Databases are saved before buckets: an artifact that the registry names was there earlier, so the copy holds it, and one
that came later does no harm. Nothing needs to stop for a save. Secrets are not in it; the registry's users and their
password hashes are, so that MLFLOW_ADMIN_PASSWORD and MLFLOW_PIPELINE_PASSWORD must be those of the time of the save.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.identities import ADMIN, secret_name
from infra.local import object_store, postgres
from infra.local.stack import Stack
from sim4seg.atomic import atomic_directory, write_json
from sim4seg.errors import Sim4SegError, exit_code_of

BUCKETS = ("mlflow", "dvc", "champion")
"""Not ``data``: snapshots name versions of its objects, which a copy does not keep. The store can replicate it."""
MANIFEST = "manifest.json"
LOGS = "registry"
Action = Callable[[argparse.Namespace], None]


class BackupError(Sim4SegError):
    """A backup cannot be made or used."""


def _postgres(program: str, database: postgres.Database, arguments: list[str]) -> None:
    command = [str(postgres.binaries() / program), "-h", database.host, "-p", str(database.port), "-U", database.user]
    environment = {**os.environ, "PGPASSWORD": database.password}
    done = subprocess.run(
        [*command, "--no-password", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BackupError(f"{program} failed: {done.stderr.strip()[-800:]}", where=database.name)


def _objects(store: Any, bucket: str) -> list[str]:
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def save_buckets(store: Any, out: Path) -> dict[str, Any]:
    """Copy the objects of :data:`BUCKETS` to ``out``, each under a number, and list them.

    Returns:
        The list: bucket, key, file, SHA-256, size, type and metadata of each object.
    """
    listed: list[dict[str, Any]] = []
    for bucket in BUCKETS:
        (out / bucket).mkdir(parents=True)
        for number, key in enumerate(_objects(store, bucket)):
            got = store.get_object(Bucket=bucket, Key=key)
            name = f"{bucket}/{number:08d}"  # a key need not be a file name
            digest = hashlib.sha256()
            with open(out / name, "wb") as stream:
                for piece in got["Body"].iter_chunks(1 << 20):
                    digest.update(piece)
                    stream.write(piece)
            listed.append(
                {
                    "bucket": bucket,
                    "key": key,
                    "file": name,
                    "sha256": digest.hexdigest(),
                    "size": (out / name).stat().st_size,
                    "type": got.get("ContentType", "binary/octet-stream"),
                    "metadata": got.get("Metadata", {}),
                }
            )
    return {"objects": listed}


def restore_buckets(store: Any, saved: Path) -> None:
    """Put every object of ``saved`` back.

    Raises:
        BackupError: a file is missing or is not the one that was saved; nothing has been put then.
    """
    manifest = json.loads((saved / MANIFEST).read_text(encoding="utf-8"))
    for entry in manifest["objects"]:
        file = saved / "buckets" / entry["file"]
        if not file.is_file():
            raise BackupError("a file of the backup is missing", where=str(file), remedy="use another backup")
        with open(file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != entry["sha256"]:
            raise BackupError("a file of the backup was changed", where=str(file), remedy="use another backup")
    for entry in manifest["objects"]:
        store.upload_file(
            str(saved / "buckets" / entry["file"]),
            entry["bucket"],
            entry["key"],
            ExtraArgs={"ContentType": entry["type"], "Metadata": entry["metadata"]},
        )


def save(stack: Stack, out: Path, workspace: Path | None = None) -> None:
    """Save databases, buckets and, with a workspace, its promotion log to the new folder ``out``.

    Raises:
        BackupError: ``out`` exists, or a database cannot be read.
    """
    if out.exists():
        raise BackupError("there is something already", where=str(out), remedy="name a new folder")
    with atomic_directory(out) as folder:
        for name, database in stack.databases.items():
            target = folder / f"{name}.dump"
            _postgres("pg_dump", database, ["--format=custom", f"--file={target}", f"--dbname={database.name}"])
        write_json(folder / MANIFEST, save_buckets(stack.s3(ADMIN), folder / "buckets"))
        if workspace and (workspace / "registry").is_dir():
            shutil.copytree(workspace / "registry", folder / LOGS, ignore=shutil.ignore_patterns(".lock"))


def restore(stack: Stack, saved: Path, workspace: Path | None = None) -> None:
    """Bring a save into a stack, running or not: databases are replaced, objects put, and all is started.

    Raises:
        BackupError: the save is not whole, or a database does not take it.
    """
    missing = [f"{name}.dump" for name in stack.databases if not (saved / f"{name}.dump").is_file()]
    if missing or not (saved / MANIFEST).is_file():
        raise BackupError(f"not a whole backup: {', '.join(missing) or MANIFEST} missing", where=str(saved))
    if workspace and (saved / LOGS).is_dir() and any((workspace / "registry").glob("*")):
        raise BackupError("the workspace has a promotion log", where=str(workspace), remedy="move it away first")
    for name in ("mlflow", "prefect"):
        stack[name].stop()
    stack.start_stores()
    restore_buckets(stack.s3(ADMIN), saved)
    postgres.drop_databases(stack.admin, stack.databases)
    postgres.create_databases(stack.admin, stack.databases, with_roles=False)
    for name, database in stack.databases.items():
        arguments = ["--no-owner", "--exit-on-error", f"--dbname={database.name}", str(saved / f"{name}.dump")]
        _postgres("pg_restore", database, arguments)
    if workspace and (saved / LOGS).is_dir():
        shutil.copytree(saved / LOGS, workspace / "registry", dirs_exist_ok=True)
    stack.up()


def _save(options: argparse.Namespace) -> None:
    save(Stack(options.dir), options.folder, options.workspace)


def _restore(options: argparse.Namespace) -> None:
    restore(Stack(options.dir), options.folder, options.workspace)


def _store() -> Any:
    """The administrator's client for the store that the environment names."""
    return object_store.client(os.environ["AWS_ENDPOINT_URL"], ADMIN, os.environ[secret_name(ADMIN)])


def _save_buckets(options: argparse.Namespace) -> None:
    store = _store()
    with atomic_directory(options.folder) as folder:
        write_json(folder / MANIFEST, save_buckets(store, folder / "buckets"))


def _restore_buckets(options: argparse.Namespace) -> None:
    restore_buckets(_store(), options.folder)


OF_A_STACK: dict[str, Action] = {"save": _save, "restore": _restore}
"""Actions that need ``--dir``."""
ACTIONS: dict[str, Action] = {**OF_A_STACK, "save-buckets": _save_buckets, "restore-buckets": _restore_buckets}


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks; the exit code."""
    parser = argparse.ArgumentParser("infra.backup", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=list(ACTIONS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dir", type=Path, help="folder of the local stack, for save and restore")
    parser.add_argument("--workspace", type=Path, help="project folder whose promotion log belongs to it")
    options = parser.parse_args(arguments)
    if options.action in OF_A_STACK and not options.dir:
        parser.error(f"{options.action} needs --dir")
    return exit_code_of(lambda: ACTIONS[options.action](options))


if __name__ == "__main__":
    sys.exit(main())
