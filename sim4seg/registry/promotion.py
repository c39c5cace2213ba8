"""Promote a version to champion if it meets the rules, or roll back; every change is logged."""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim4seg.config import Register
from sim4seg.errors import RegistryError
from sim4seg.registry import journal, rules
from sim4seg.registry.journal import Entry
from sim4seg.registry.store import CANDIDATE, CHAMPION, DATA_DIGEST, MODEL_DIGEST, Store, locked, registry_folder

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LOG = "promotions.jsonl"


@dataclass(frozen=True)
class Promotion:
    """What a promotion or a rollback came to.

    Attributes:
        name: registered model.
        version: the champion now.
        replaced: the champion before, None if there was none.
        changed: False if that version was the champion already.
        message: one sentence for the user.
    """

    name: str
    version: str
    replaced: str | None
    changed: bool
    message: str


def _evidence(store: Store, version: ModelVersion, name: str) -> dict[str, Any]:
    path = store.evidence(version, name)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"the evidence of version {version.version} cannot be read: {error}",
            where=str(path),
            remedy="register the model again",
        ) from error
    return value if isinstance(value, dict) else {}


def _comparable(version: ModelVersion, champion: ModelVersion) -> bool:
    return bool(version.tags.get(DATA_DIGEST, "none") == champion.tags.get(DATA_DIGEST) != "none")


def _failed_rules(
    params: Register, store: Store, version: ModelVersion, champion: ModelVersion | None
) -> tuple[list[str], list[str]]:
    """(failed rules, remarks)."""
    metrics = _evidence(store, version, "metrics.json")
    failed = rules.gates_not_passed({gate: _evidence(store, version, f"{gate}.json") for gate in rules.GATES})
    failed += rules.below_floors(params, metrics)
    if params.beat_baselines:
        failed += rules.not_above_baselines(metrics)
    remarks = ["floors" + (", baselines" if params.beat_baselines else "") + ", gates and weights checked"]
    if champion is None:
        remarks.append("first champion")
    elif _comparable(version, champion):
        failed += rules.worse_than_champion(params, metrics, _evidence(store, champion, "metrics.json"))
        remarks.append(f"not worse than version {champion.version} by more than {params.margin:g}")
    else:
        remarks.append(f"not compared with version {champion.version}: it was scored on other data")
    try:
        store.weights(version)
    except RegistryError as error:
        failed.append(error.what)
    return failed, remarks


def _chosen(store: Store, version: int | str | None) -> ModelVersion:
    if version is not None:
        return store.version(version)
    candidate = store.alias(CANDIDATE)
    if candidate is None:
        raise RegistryError(
            f"{store.name} has no candidate", where=store.uri, remedy="register one first: `dvc repro register`"
        )
    return candidate


def _crown(store: Store, action: str, version: ModelVersion, champion: ModelVersion | None, why: str) -> Promotion:
    """Log, then move the alias. Killed in between, the next call finds the entry in the log and only moves it."""
    log = registry_folder(store.workspace) / LOG
    number, replaced = str(version.version), str(champion.version) if champion else None
    entry = Entry(
        action=action,
        name=store.name,
        version=number,
        replaced=replaced,
        digest=str(version.tags[MODEL_DIGEST]),
        who=getpass.getuser(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        why=why,
    )
    last = next((one for one in reversed(journal.read_whole(log)) if one.name == store.name), None)
    if last is None or (last.action, last.version, last.replaced) != (action, number, replaced):
        journal.append(log, entry)
    store.set_alias(CHAMPION, version)
    verb = "promoted" if action == "promote" else "rolled back to"
    before = f", in place of version {replaced}" if replaced else ""
    return Promotion(store.name, number, replaced, True, f"{verb} {store.name} version {number}{before}: {why}")


def promote(params: Register, version: int | str | None = None, workspace: Path = Path()) -> Promotion:
    """Make a version the champion if it meets every rule.

    Rules: the gates passed; mean gIoU, cIoU and Acc (without test-time scaling) at or above ``floors``; gIoU above
    the centre prior's and Acc above the majority label's if ``beat_baselines``; not more than ``margin`` below the
    champion's if that was scored on the same data; the stored weights are those that were registered.

    Args:
        version: None = the candidate.

    Raises:
        RegistryError: rules failed, all of them listed and by how much; or the log was tampered with.
    """
    with locked(workspace):
        store = Store(params.name, workspace)
        journal.read_whole(registry_folder(store.workspace) / LOG)
        chosen, champion = _chosen(store, version), store.alias(CHAMPION)
        number = str(chosen.version)
        if champion is not None and str(champion.version) == number:
            store.weights(chosen)
            message = f"{store.name} version {number} is the champion already; nothing changed"
            return Promotion(store.name, number, number, False, message)
        failed, remarks = _failed_rules(params, store, chosen, champion)
        if failed:
            raise RegistryError(
                f"{store.name} version {number} is not promoted, {len(failed)} "
                f"rule{'s' if len(failed) > 1 else ''} failed:\n" + "\n".join(f"  - {one}" for one in failed),
                where=store.uri,
                remedy="train a better model, or, if the rule is wrong for you, change `register` in params.yaml",
            )
        return _crown(store, "promote", chosen, champion, "; ".join(remarks))


def rollback(params: Register, version: int | str, why: str = "", workspace: Path = Path()) -> Promotion:
    """Make an earlier champion the champion again; the rules are not asked, its weights are checked.

    Raises:
        RegistryError: the version never was champion, its weights were changed, or the log was tampered with.
    """
    with locked(workspace):
        store = Store(params.name, workspace)
        past = journal.read_whole(registry_folder(store.workspace) / LOG)
        chosen, champion = store.version(version), store.alias(CHAMPION)
        number = str(chosen.version)
        champions = sorted({one.version for one in past if one.name == store.name}, key=int)
        if number not in champions:
            raise RegistryError(
                f"{store.name} version {number} never was champion",
                where=str(registry_folder(store.workspace) / LOG),
                remedy=f"earlier champions: {', '.join(champions) or 'none'}; `promote` a new one by the rules",
            )
        store.weights(chosen)
        if champion is not None and str(champion.version) == number:
            message = f"{store.name} version {number} is the champion already; nothing changed"
            return Promotion(store.name, number, number, False, message)
        return _crown(store, "rollback", chosen, champion, why or "no reason given")


def history(workspace: Path = Path()) -> list[Entry]:
    """The verified promotion log, oldest first.

    Raises:
        RegistryError: the log was changed after it was written.
    """
    return journal.read(registry_folder(workspace) / LOG)
