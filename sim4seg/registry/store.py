"""The MLflow store: connection, versions with their tags, and files that belong to a version."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim4seg.atomic import atomic_directory, atomic_file
from sim4seg.digest import digest_directory
from sim4seg.errors import RegistryError
from sim4seg.locks import wait_for_lock
from sim4seg.offline import silence
from sim4seg.registry.store_errors import explained, translated
from sim4seg.registry.tags import HEAD, MODEL_DIGEST, WEIGHTS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "sim4seg"
CANDIDATE = "candidate"
CHAMPION = "champion"

EVIDENCE = "evidence"
"""Artifact folder of a run: what the version was made from and how it scored."""
ASSESSMENT = "assessment"
"""Artifact folder of a run: how the version compared with the champion when it was decided on."""


def registry_folder(workspace: Path) -> Path:
    """Where the lock and the promotion log are: SIM4SEG_REGISTRY_DIR (set in a worktree), else ``registry/``."""
    return Path(os.environ.get("SIM4SEG_REGISTRY_DIR") or workspace / "registry")


@contextmanager
def locked(workspace: Path, name: str = ".lock") -> Iterator[None]:
    """Hold the workspace's registry lock, or another one beside it."""
    with wait_for_lock(registry_folder(workspace) / name):
        yield


def _create_database(database: Path) -> None:
    """Make MLflow's tables in a file aside, then move it into place: a migration torn by a kill cannot be taken up."""
    from mlflow import MlflowClient

    with atomic_file(database) as partial:
        uri = f"sqlite:///{partial}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments()


def _address(workspace: Path) -> tuple[str, Path | None]:
    """Address of the registry, and its file if it is one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workspace.resolve() / 'mlflow.db'}"
    file = uri.removeprefix("sqlite:///").partition("?")[0]
    return uri, Path(file) if uri.startswith("sqlite:///") else None


def is_missing(workspace: Path) -> bool:
    """Whether the registry is a local file that is not there yet."""
    _, database = _address(workspace)
    return database is not None and not database.is_file()


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
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        self.name, self.workspace = name, workspace.resolve()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._evidence: dict[str, Path] = {}
        self.uri, database = _address(self.workspace)
        missing = database is not None and not database.is_file()
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
            if missing and database is not None:
                _create_database(database)
            self.client: MlflowClient = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def experiment(self) -> str:
        """Id of the experiment; made if it is missing, its artifacts in MLFLOW_DEFAULT_ARTIFACT_ROOT or here."""
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        remote = self.uri.startswith(("http://", "https://", "databricks"))
        here = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT") or (self.workspace / "mlartifacts").as_uri()
        place = None if remote else here
        return str(self.client.create_experiment(EXPERIMENT, artifact_location=place))

    def versions(self) -> list[ModelVersion]:
        """All versions, oldest first."""
        with explained(self.uri):
            versions: list[ModelVersion] = []
            token = None
            while True:
                page = self.client.search_model_versions(f"name='{self.name}'", page_token=token)
                versions.extend(page)
                token = page.token
                if not token:
                    return sorted(versions, key=lambda version: int(version.version))

    def tagged(self, key: str, value: str) -> list[ModelVersion]:
        """Versions that carry that tag, oldest first; one request, whatever the number of versions."""
        with explained(self.uri):
            versions = self.client.search_model_versions(f"name = '{self.name}' and tags.`{key}` = '{value}'")
            return sorted(versions, key=lambda version: int(version.version))

    def version(self, number: int | str) -> ModelVersion:
        """One version.

        Raises:
            RegistryError: there is no such version; the message lists those there are.
        """
        from mlflow.exceptions import MlflowException

        with explained(self.uri):
            try:
                return self.client.get_model_version(self.name, str(number))
            except MlflowException as error:
                if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                    raise
        listed = ", ".join(str(one.version) for one in self.versions())
        raise RegistryError(
            f"{self.name} has no version {number}",
            where=self.uri,
            remedy=f"versions there are: {listed or 'none; register one first'}",
        )

    def alias(self, alias: str) -> ModelVersion | None:
        """The version that carries ``alias``, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                return None
            raise translated(error, self.uri) from error

    def set_alias(self, alias: str, version: ModelVersion) -> None:
        """Move ``alias`` to ``version``."""
        with explained(self.uri):
            self.client.set_registered_model_alias(self.name, alias, str(version.version))

    def set_tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Set a tag of a version."""
        with explained(self.uri):
            self.client.set_model_version_tag(self.name, str(version.version), key, value)

    def head(self) -> str | None:
        """Hash of the last entry of the promotion log that is in force, as the registry keeps it."""
        from mlflow.exceptions import MlflowException

        with explained(self.uri):
            try:
                tags: dict[str, str] = dict(self.client.get_registered_model(self.name).tags)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
        return tags.get(HEAD)

    def set_head(self, value: str) -> None:
        """Keep the hash of the last entry of the promotion log."""
        with explained(self.uri):
            self.client.set_registered_model_tag(self.name, HEAD, value)

    def evidence(self, version: ModelVersion, name: str) -> Path:
        """Local path of an evidence file of ``version``, or of all with name "".

        From a remote store all of them, which are small, are downloaded together, once for this object.

        Raises:
            RegistryError: there is no such file.
        """
        key = str(version.run_id)
        if key not in self._evidence:
            self._evidence[key] = self.artifact(version, EVIDENCE)
        path = self._evidence[key] / name
        if not path.exists():
            raise RegistryError(
                f"{self.name} version {version.version} has no evidence file {name}",
                where=str(path),
                remedy="restore it from a backup of the registry's artifacts, or register the model again",
            )
        return path

    def artifact(self, version: ModelVersion, path: str) -> Path:
        """Local path of a file or folder that was stored with ``version``; downloaded if the store is remote."""
        from mlflow.artifacts import download_artifacts

        with explained(f"{self.name} version {version.version}, {path}"):
            run = self.client.get_run(str(version.run_id))
            return Path(
                download_artifacts(
                    artifact_uri=f"{run.info.artifact_uri}/{path}", tracking_uri=self.uri, dst_path=self._scratch(run)
                )
            )

    def attach(self, version: ModelVersion, path: Path) -> None:
        """Store a file with ``version`` below :data:`ASSESSMENT`."""
        with explained(f"{self.name} version {version.version}, {path.name}"):
            self.client.log_artifact(str(version.run_id), str(path), ASSESSMENT)

    def weights(self, version: ModelVersion, *, fresh: bool = False) -> Path:
        """Local model directory of ``version``, checked against the digest it was registered with.

        From a remote store it is downloaded once into ``work/registered/``.

        Args:
            fresh: check what the store holds now, not an earlier download.

        Raises:
            RegistryError: the files are missing or are not those that were registered.
        """
        where = f"{self.name} version {version.version}"
        tags: dict[str, Any] = dict(version.tags)
        if WEIGHTS not in tags or MODEL_DIGEST not in tags:
            raise RegistryError("not a version that Sim4Seg registered", where=where, remedy="choose another version")
        expected = str(tags[MODEL_DIGEST])
        uri = f"{version.source}/{tags[WEIGHTS]}"
        if _is_local(uri):
            with explained(where):
                return _checked(_downloaded(uri, self.uri, None), expected)
        folder = self.workspace / "work" / "registered" / expected[:16]
        if fresh or not folder.is_dir() or digest_directory(folder) != expected:
            with atomic_directory(folder) as partial, explained(where):
                shutil.copytree(
                    _checked(_downloaded(uri, self.uri, str(partial / "come")), expected), partial, dirs_exist_ok=True
                )
                shutil.rmtree(partial / "come")
        return folder

    def _scratch(self, run: Run) -> str | None:
        """Folder for downloads, gone with this object; None where the files lie on this machine already."""
        if _is_local(str(run.info.artifact_uri)):
            return None
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sim4seg-registry-")
        return str(Path(self._folder.name) / str(run.info.run_id))


def _is_local(uri: str) -> bool:
    return uri.startswith(("/", "file:"))


def _downloaded(uri: str, store: str, place: str | None) -> Path:
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(artifact_uri=uri, tracking_uri=store, dst_path=place))


def _checked(folder: Path, expected: str) -> Path:
    digest = digest_directory(folder) if folder.is_dir() else "nothing"
    if digest != expected:
        raise RegistryError(
            f"the stored weights are not those that were registered: SHA-256 {digest[:12]}, registered {expected[:12]}",
            where=str(folder),
            remedy="do not use this version; restore the file from a backup, or register the model again",
        )
    return folder
