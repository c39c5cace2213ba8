"""The MLflow store: connection, versions with their tags, and files that belong to a version."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim4seg.atomic import atomic_file
from sim4seg.digest import digest_directory
from sim4seg.errors import RegistryError
from sim4seg.offline import silence

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "sim4seg"
CANDIDATE = "candidate"
CHAMPION = "champion"

IDENTITY = "sim4seg.identity"
MODEL_DIGEST = "sim4seg.model_sha256"
DATA_DIGEST = "sim4seg.data_sha256"
WEIGHTS = "sim4seg.weights"
"""Tag: where the model directory lies below the version's source."""

EVIDENCE = "evidence"
"""Artifact folder of a run: what the version was made from and how it scored."""


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn the store's own errors into :class:`RegistryError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RegistryError(
            f"the model registry failed: {str(error).splitlines()[0]}",
            where=where,
            remedy="check the address in MLFLOW_TRACKING_URI, or, for the local registry, mlflow.db and mlartifacts/",
        ) from error


def registry_folder(workspace: Path) -> Path:
    """Where the lock and the promotion log are: SIM4SEG_REGISTRY_DIR (set in a worktree), else ``registry/``."""
    return Path(os.environ.get("SIM4SEG_REGISTRY_DIR") or workspace / "registry")


@contextmanager
def locked(workspace: Path) -> Iterator[None]:
    """Hold the workspace's registry lock; waits for another process, and ends with this one however it dies."""
    folder = registry_folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _create_database(database: Path) -> None:
    """Make MLflow's tables in a file aside, then move it into place: a migration torn by a kill cannot be taken up."""
    from mlflow import MlflowClient

    with atomic_file(database) as partial:
        uri = f"sqlite:///{partial}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments()


class Store:
    """The registry of one workspace.

    Args:
        name: the registered model's name.
        workspace: project folder; holds ``mlflow.db`` and ``mlartifacts/`` unless MLFLOW_TRACKING_URI names a server.
        create: False = a missing local registry is an error, not made.

    Raises:
        RegistryError: no registry here (``create=False``), or it cannot be opened.
    """

    def __init__(self, name: str, workspace: Path, *, create: bool = False) -> None:
        silence()
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.name, self.workspace = name, workspace.resolve()
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.workspace / 'mlflow.db'}"
        database = Path(self.uri.removeprefix("sqlite:///").partition("?")[0])
        missing = self.uri.startswith("sqlite:///") and not database.is_file()
        if missing and not create:
            raise RegistryError(
                "there is no model registry here yet",
                where=str(database),
                remedy="run `make demo` (or `dvc repro register`), or set MLFLOW_TRACKING_URI to your registry",
            )
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        with explained(self.uri):
            if missing:
                _create_database(database)
            self.client: MlflowClient = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def experiment(self) -> str:
        """Id of the experiment; made if it is missing, its artifacts in MLFLOW_DEFAULT_ARTIFACT_ROOT or here."""
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        remote = self.uri.startswith(("http://", "https://", "databricks"))
        here = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT") or (self.workspace / "mlartifacts").as_uri()
        place = None if remote else here
        return str(self.client.create_experiment(EXPERIMENT, artifact_location=place))

    def versions(self) -> list[ModelVersion]:
        """All versions, oldest first."""
        with explained(self.uri):
            found: list[ModelVersion] = []
            token = None
            while True:
                page = self.client.search_model_versions(f"name='{self.name}'", page_token=token)
                found.extend(page)
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: int(version.version))

    def version(self, number: int | str) -> ModelVersion:
        """One version.

        Raises:
            RegistryError: there is no such version; the message lists those there are.
        """
        found = self.versions()
        for version in found:
            if str(version.version) == str(number):
                return version
        raise RegistryError(
            f"{self.name} has no version {number}",
            where=self.uri,
            remedy=f"versions there are: {', '.join(str(v.version) for v in found) or 'none; register one first'}",
        )

    def alias(self, alias: str) -> ModelVersion | None:
        """The version that carries ``alias``, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                return None
            raise RegistryError(f"the model registry failed: {error}", where=self.uri) from error

    def set_alias(self, alias: str, version: ModelVersion) -> None:
        """Move ``alias`` to ``version``."""
        with explained(self.uri):
            self.client.set_registered_model_alias(self.name, alias, str(version.version))

    def evidence(self, version: ModelVersion, name: str) -> Path:
        """Local path of an evidence file of ``version``, or of all with name ""; downloaded if the store is remote."""
        return self.artifact(version, f"{EVIDENCE}/{name}".rstrip("/"))

    def artifact(self, version: ModelVersion, path: str) -> Path:
        """Local path of a file or folder that was stored with ``version``; downloaded if the store is remote."""
        with explained(f"{self.name} version {version.version}, {path}"):
            return Path(self.client.download_artifacts(str(version.run_id), path))

    def weights(self, version: ModelVersion) -> Path:
        """Local model directory of ``version``, checked against the digest it was registered with.

        Raises:
            RegistryError: the files are missing or are not those that were registered.
        """
        from mlflow.artifacts import download_artifacts

        where = f"{self.name} version {version.version}"
        tags: dict[str, Any] = dict(version.tags)
        if WEIGHTS not in tags or MODEL_DIGEST not in tags:
            raise RegistryError("not a version that Sim4Seg registered", where=where, remedy="choose another version")
        with explained(where):
            folder = Path(download_artifacts(artifact_uri=f"{version.source}/{tags[WEIGHTS]}", tracking_uri=self.uri))
        digest = digest_directory(folder) if folder.is_dir() else "nothing"
        if digest != tags[MODEL_DIGEST]:
            raise RegistryError(
                f"the stored weights are not those that were registered: SHA-256 {digest[:12]}, "
                f"registered {tags[MODEL_DIGEST][:12]}",
                where=str(folder),
                remedy="do not use this version; restore the file from a backup, or register the model again",
            )
        return folder
