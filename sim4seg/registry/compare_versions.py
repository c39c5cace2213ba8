"""Candidate and champion on the same test cases, both scored by the same code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sim4seg.comparison.differences import Comparison, compare
from sim4seg.comparison.paired_cases import pair
from sim4seg.config.recorded import recorded_params
from sim4seg.locks import wait_for_lock
from sim4seg.registry.evidence import PARAMS, SPLITS, read_table, recorded
from sim4seg.registry.rules import MODE
from sim4seg.registry.store import Store
from sim4seg.registry.tags import MODEL_DIGEST, NONE, SCORER, TEST_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def compare_versions(
    store: Store, candidate: ModelVersion, champion: ModelVersion, data: Path
) -> tuple[Comparison | None, list[str]]:
    """Compare two versions.

    If both were scored on the same test split by the same code, their recorded cases are compared. If not, the
    champion's stored weights answer the candidate's test split anew, and the candidate's if other code scored them
    than runs now; cases that the champion was trained or tuned on are left out for both.

    Args:
        data: project folder with shards and manifest.

    Returns:
        the comparison, None if no case is left; and remarks on how it was made.

    Raises:
        RegistryError: evidence is missing or damaged, or weights are not those that were registered.
        DataError: the test split must be answered anew and the data are not there.
    """
    splits = read_table(store, candidate, SPLITS)
    test = splits[splits["split"] == "test"]
    if _same(candidate, champion, SCORER) and _same(candidate, champion, TEST_DIGEST):
        first, second = _recorded_cases(store, candidate), _recorded_cases(store, champion)
        return compare(pair(first, second, test)), [f"compared with version {champion.version} case by case"]
    return _anew(store, candidate, champion, test, data)


def _same(first: ModelVersion, second: ModelVersion, tag: str) -> bool:
    return bool(first.tags.get(tag, NONE) == second.tags.get(tag, NONE) != NONE)


def _recorded_cases(store: Store, version: ModelVersion) -> pd.DataFrame:
    return read_table(store, version, "cases.parquet", {"mode": MODE})


def _anew(
    store: Store, candidate: ModelVersion, champion: ModelVersion, test: pd.DataFrame, data: Path
) -> tuple[Comparison | None, list[str]]:
    from sim4seg.comparison.rescoring import rescore
    from sim4seg.evaluation.scoring import scorer

    number = champion.version
    why = "on another test split" if _same(candidate, champion, SCORER) else "by other code"
    remarks = [f"version {number} was scored {why}, so its weights answered the candidate's test split anew"]
    seen, remark = _seen(store, champion, test)
    remarks.append(remark)
    unseen = test[~test["id"].isin(list(seen))]
    ids = sorted(unseen["id"].tolist())
    if not ids:
        return None, [*remarks, f"version {number} was trained on every case of the candidate's test split"]
    params = recorded_params(store.evidence(candidate, PARAMS)).evaluate
    with wait_for_lock(data.resolve() / "work" / ".rescore.lock"):
        if candidate.tags.get(SCORER) == scorer(params):
            first = _recorded_cases(store, candidate)
        else:
            remarks.append(f"so did those of version {candidate.version}, which other code had scored")
            title, digest = f"scoring version {candidate.version}", str(candidate.tags[MODEL_DIGEST])
            first = rescore(store.weights(candidate), digest, ids, params, data, title)
        title, digest = f"scoring version {number}", str(champion.tags[MODEL_DIGEST])
        second = rescore(store.weights(champion), digest, ids, params, data, title)
    return compare(pair(first, second, unseen)), remarks


def _seen(store: Store, champion: ModelVersion, test: pd.DataFrame) -> tuple[set[str], str]:
    """Cases of the test split that the champion was trained or tuned on, and a remark on them."""
    if SPLITS not in recorded(champion):
        return set(), f"what version {champion.version} was trained on is not recorded; no case was left out"
    past = read_table(store, champion, SPLITS)
    seen = set(past.loc[past["split"] != "test", "id"]) & set(test["id"])
    return seen, f"{len(seen)} of {len(test)} cases left out, on which version {champion.version} was trained or tuned"
