"""Register a trained model as a version, once."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sim4seg.atomic import write_json
from sim4seg.config.register import Register
from sim4seg.data.snapshot import read_snapshot, snapshot_digest
from sim4seg.digest import digest_directory, digest_file, digest_json
from sim4seg.errors import RegistryError
from sim4seg.git import checked_out
from sim4seg.identity.identity import Identity
from sim4seg.inference.settings import AnswerSettings
from sim4seg.registry.evidence import (
    CARD,
    MANIFEST,
    PARAMS,
    REQUIRED,
    TICKET,
    digest_of_test_split,
    gather,
    read_splits,
)
from sim4seg.registry.model_card import model_card
from sim4seg.registry.store import CANDIDATE, EVIDENCE, Store, locked
from sim4seg.registry.store_errors import explained
from sim4seg.registry.tags import (
    CHANGES,
    COMMIT,
    DATA_DIGEST,
    EVIDENCE_DIGESTS,
    IDENTITY,
    MODEL_DIGEST,
    NONE,
    SCORER,
    SNAPSHOT_DIGEST,
    TEST_DIGEST,
    WEIGHTS,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

RUNTIME = ("torch", "torchvision", "transformers", "tokenizers", "safetensors", "numpy", "pandas", "pillow", "pydicom")
"""Pinned in the version's requirements. sim4seg itself is not: a package index may hold a stranger by that name."""


@dataclass(frozen=True)
class Registration:
    """A registered version.

    Attributes:
        name: registered model.
        version: its number, as the registry writes it.
        digest: SHA-256 of the model directory.
    """

    name: str
    version: str
    digest: str


def _missing(path: Path, why: str) -> RegistryError:
    return RegistryError(
        f"cannot register without this file: {why}", where=str(path), remedy="run `dvc repro` up to here first"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _missing(path, str(error)) from error
    if not isinstance(value, dict):
        raise RegistryError("not a JSON object", where=str(path), remedy="run the stage that writes it again")
    return value


def _commit(workspace: Path) -> str:
    """Git commit, with "+changes" if tracked files differ from it; "none" outside a work tree."""
    commit = checked_out(workspace)
    return commit[0] + (CHANGES if commit[1] else "") if commit else NONE


def _snapshot(path: Path) -> str:
    return snapshot_digest(read_snapshot(path)) if path.is_file() else NONE


def version_identity(settings: AnswerSettings, model: str, metrics: Mapping[str, Any], snapshot: str) -> Identity:
    """What makes a registration another one: the weights, how they answer, how they scored and by what, the source.

    The code that scored them is in the metrics, by its digest; the code that trained them shows in the weights.

    Args:
        settings: of answers.
        model: digest of the model directory.
        metrics: what ``evaluate`` wrote.
        snapshot: digest of the source's snapshot.
    """
    data = {"model": model, "metrics": digest_json(metrics), "snapshot": snapshot}
    return Identity(code={}, libraries={}, settings=asdict(settings), data=data)


def _tags(
    model: str, metrics: Mapping[str, Any], splits: pd.DataFrame, weights: str, workspace: Path
) -> dict[str, str]:
    def file(name: str) -> str:
        path = workspace / name
        return digest_file(path) if path.is_file() else NONE

    snapshot = _snapshot(workspace / "source.snapshot.json")
    settings = AnswerSettings.recorded(workspace / PARAMS)
    return {
        IDENTITY: version_identity(settings, model, metrics, snapshot).digest,
        MODEL_DIGEST: model,
        DATA_DIGEST: str(_read_json(workspace / TICKET).get("data", NONE)),
        SNAPSHOT_DIGEST: snapshot,
        SCORER: str(metrics.get("scorer", NONE)),
        TEST_DIGEST: digest_of_test_split(splits),
        WEIGHTS: weights,
        COMMIT: _commit(workspace),
        "sim4seg.dvc_lock_sha256": file("dvc.lock"),
        "sim4seg.params_sha256": file(PARAMS),
    }


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _numbers(value[key], f"{path}/{key}" if path else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, float(value)


def _save_pyfunc(model_dir: Path, folder: Path, settings: AnswerSettings) -> None:
    """The model in MLflow's layout: code, safetensors directory, settings, requirements.

    No pickle, and nothing is looked up online.
    """
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

    def column(name: str, kind: DataType) -> ColSpec:
        return ColSpec(kind, name)

    save_model(
        path=str(folder),
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts={"model": str(model_dir.resolve())},
        model_config=asdict(settings),
        signature=ModelSignature(
            inputs=Schema([ColSpec(AnyType(), "image"), column("question", DataType.string)]),
            outputs=Schema(
                [
                    ColSpec(DataType.string, "diagnosis", required=False),
                    column("text", DataType.string),
                    column("confidence", DataType.double),
                    column("mask", DataType.binary),
                ]
            ),
        ),
        pip_requirements=[f"{package}=={installed(package).split('+')[0]}" for package in RUNTIME],
    )


def _close_unfinished(store: Store, experiment: str, identity: str) -> None:
    """Runs that were killed before their version was made are marked; nothing refers to them."""
    for run in store.client.search_runs([experiment], f"tags.\"{IDENTITY}\" = '{identity}' and status = 'RUNNING'"):
        store.client.set_terminated(run.info.run_id, "KILLED")


def _new_version(
    store: Store, model_dir: Path, metrics: Mapping[str, Any], splits: pd.DataFrame, tags: dict[str, str]
) -> ModelVersion:
    """Upload everything, then make the version: the last step, so that a version is always whole."""
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    client = store.client
    experiment = store.experiment()
    _close_unfinished(store, experiment, tags[IDENTITY])
    run = client.create_run(experiment, tags=tags, run_name=tags[IDENTITY][:12])
    with tempfile.TemporaryDirectory() as scratch:
        settings = AnswerSettings.recorded(store.workspace / PARAMS)
        _save_pyfunc(model_dir, Path(scratch) / "model", settings)
        card = Path(scratch) / EVIDENCE / CARD
        digests = gather(store.workspace, splits, card.parent)
        text = model_card(store.name, tags, metrics)
        card.write_text(text, encoding="utf-8")
        digests[CARD] = digest_file(card)
        client.log_artifacts(run.info.run_id, scratch)
    figures = [Metric(key, value, run.info.start_time, 0) for key, value in _numbers(metrics, "")]
    client.log_batch(run.info.run_id, metrics=figures)
    try:
        client.create_registered_model(store.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{run.info.artifact_uri}/model"
    carried = {**tags, EVIDENCE_DIGESTS: json.dumps(digests, sort_keys=True)}
    return client.create_model_version(store.name, source, run.info.run_id, tags=carried, description=text)


def register_model(params: Register, model_dir: Path, out: Path, workspace: Path = Path()) -> Registration:
    """Register the model directory as a version and give it the alias ``candidate``.

    A model of the same :func:`version_identity` is not registered again: its version is returned. Killed at any
    moment, the same call finishes the work.

    Args:
        params: the ``register`` section.
        model_dir: what training wrote: safetensors, configuration, tokenizer.
        out: JSON file to write, ``{"name", "version", "digest"}``.
        workspace: project folder with ``reports/``, ``data/``, ``params.yaml``, ``dvc.lock``, ``source.snapshot.json``.

    Raises:
        RegistryError: a file that a version must carry is missing, or the store refused.
        Unreachable: the store is out of reach.
    """
    if not (model_dir / "config.json").is_file():
        raise RegistryError("there is no trained model", where=str(model_dir), remedy="run `dvc repro train`")
    read = {name: _read_json(workspace / name) for name in REQUIRED if name.endswith(".json")}
    for name in REQUIRED:
        if not (workspace / name).is_file():
            raise _missing(workspace / name, "there is no such file")
    metrics, splits = read["reports/metrics.json"], read_splits(workspace / MANIFEST)
    digest = digest_directory(model_dir)
    tags = _tags(digest, metrics, splits, f"artifacts/{model_dir.resolve().name}", workspace)
    with locked(workspace):
        store = Store(params.name, workspace, create=True)
        same = store.tagged(IDENTITY, tags[IDENTITY])
        with explained(store.uri):
            version = same[0] if same else _new_version(store, model_dir, metrics, splits, tags)
            store.client.set_terminated(str(version.run_id), "FINISHED")
        store.weights(version, fresh=True)
        store.set_alias(CANDIDATE, version)
    registration = Registration(params.name, str(version.version), digest)
    write_json(out, {"name": registration.name, "version": registration.version, "digest": digest})
    return registration
