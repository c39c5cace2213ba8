"""The evidence of a version: files that say what it was made from and how it scored, and their digests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sim4seg.digest import digest_file, digest_json
from sim4seg.errors import RegistryError
from sim4seg.registry.tags import EVIDENCE_DIGESTS

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from sim4seg.registry.store import Store

TICKET = "data/gates/gate_cot.json"
"""Both the gate's report and its ticket are called gate_cot.json; the ticket goes into the tags."""
MANIFEST = "data/manifest_cot.parquet"
"""Its split columns become :data:`SPLITS`."""
PARAMS = "params.yaml"
COPIED = (
    "reports/metrics.json",
    "reports/cases.parquet",
    "reports/gate_data.json",
    "reports/gate_cot.json",
    PARAMS,
)
REQUIRED = (*COPIED, TICKET, MANIFEST)
OPTIONAL = ("reports/results.md", "dvc.lock", "source.snapshot.json")
"""Not there when a stage is tried by hand; a version without the last two cannot become champion."""
SPLITS = "splits.parquet"
SPLIT_COLUMNS = ["id", "split", "dataset", "modality", "label"]
CARD = "model_card.md"
LINEAGE = (*(Path(name).name for name in COPIED), SPLITS, CARD, "dvc.lock", "source.snapshot.json")
"""What a champion must carry."""


def read_splits(manifest: Path) -> pd.DataFrame:
    """:data:`SPLIT_COLUMNS` of a manifest, sorted by id.

    Raises:
        RegistryError: no manifest there.
    """
    try:
        frame = pd.read_parquet(manifest, columns=SPLIT_COLUMNS)
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"cannot register without this file: {error}",
            where=str(manifest),
            remedy="run `dvc repro` up to here first",
        ) from error
    return frame.sort_values("id", kind="stable", ignore_index=True)


def digest_of_test_split(splits: pd.DataFrame) -> str:
    """Digest of the ids of the test split."""
    return digest_json(sorted(splits.loc[splits["split"] == "test", "id"].tolist()))


def gather(workspace: Path, splits: pd.DataFrame, folder: Path) -> dict[str, str]:
    """Copy the evidence into a new folder.

    Returns:
        file name to SHA-256, sorted by name; the model card comes later.
    """
    folder.mkdir()
    for name in (*COPIED, *OPTIONAL):
        if (workspace / name).is_file():
            shutil.copyfile(workspace / name, folder / Path(name).name)
    splits.to_parquet(folder / SPLITS, index=False, compression="zstd")
    return {file.name: digest_file(file) for file in sorted(folder.iterdir())}


def recorded(version: ModelVersion) -> dict[str, str]:
    """File name to SHA-256, as registered; empty for a version from before digests were kept."""
    value = json.loads(version.tags.get(EVIDENCE_DIGESTS, "{}"))
    return dict(value) if isinstance(value, dict) else {}


def faults(store: Store, version: ModelVersion) -> list[str]:
    """What is wrong with a version's evidence: files not recorded, missing or changed."""
    digests = recorded(version)
    complaints = []
    for name in sorted({*LINEAGE, *digests}):
        if name not in digests:
            complaints.append(f"the lineage is not complete: {name} was not registered with the version")
            continue
        try:
            path = store.evidence(version, name)
        except RegistryError:
            path = Path("missing")
        if not path.is_file():
            complaints.append(f"the lineage is not complete: {name} is missing from the registry's artifacts")
        elif (digest := digest_file(path)) != digests[name]:
            now, then = digest[:12], digests[name][:12]
            complaints.append(f"{name} was changed since it was registered: SHA-256 {now}, not {then}")
    return complaints


def read_json(store: Store, version: ModelVersion, name: str) -> dict[str, Any]:
    """An evidence file as a JSON object.

    Raises:
        RegistryError: missing or damaged.
    """
    path = store.evidence(version, name)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(version, path, error) from error
    return value if isinstance(value, dict) else {}


def read_table(
    store: Store, version: ModelVersion, name: str, filters: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """An evidence table, or those of its rows that have the given values.

    Raises:
        RegistryError: missing or damaged.
    """
    path = store.evidence(version, name)
    try:
        return pd.read_parquet(path, filters=[(key, "==", value) for key, value in (filters or {}).items()] or None)
    except (OSError, ValueError) as error:
        raise _unreadable(version, path, error) from error


def _unreadable(version: ModelVersion, path: Path, error: Exception) -> RegistryError:
    return RegistryError(
        f"the evidence of version {version.version} cannot be read: {error}",
        where=str(path),
        remedy="restore the file from a backup, or register the model again",
    )
