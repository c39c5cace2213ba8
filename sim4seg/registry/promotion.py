"""Promote a version to champion if it meets the rules, decline it, or roll back; every change is logged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sim4seg.atomic import write_json
from sim4seg.config.register import Register
from sim4seg.errors import NotPromoted, RegistryError
from sim4seg.registry import promotion_log
from sim4seg.registry.assessment import Assessment, assess_version, chosen
from sim4seg.registry.export import export_champion
from sim4seg.registry.ledger import DECISION_LENGTH, Ledger, log_path
from sim4seg.registry.promotion_log import LogEntry
from sim4seg.registry.store import CHAMPION, Store, is_missing, locked
from sim4seg.registry.tags import DECISION

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ATTEMPTS = 3
"""How often a candidate is compared anew because the champion changed meanwhile."""


@dataclass(frozen=True)
class Promotion:
    """What a promotion, a rollback or a decline came to.

    Attributes:
        name: registered model.
        version: the champion now; of a decline the version declined.
        replaced: the champion before, None if there was none.
        changed: False if everything was so already.
        message: one or two sentences for the user.
    """

    name: str
    version: str
    replaced: str | None
    changed: bool
    message: str


def _number(version: ModelVersion | None) -> str | None:
    return str(version.version) if version is not None else None


def _already(store: Store, version: ModelVersion, finished: LogEntry | None) -> Promotion:
    """The answer for a version that is champion; its stored weights are checked all the same."""
    store.weights(version, fresh=True)
    number = str(version.version)
    if finished is not None and finished.version == number and finished.action != "decline":
        message = f"{store.name} version {number} is the champion: its {finished.action}, interrupted, was completed"
        return Promotion(store.name, number, finished.replaced, True, message)
    message = f"{store.name} version {number} is the champion already; nothing changed"
    return Promotion(store.name, number, number, False, message)


def _not_declined(store: Store, version: ModelVersion, named: bool) -> None:
    decided = str(version.tags.get(DECISION, ""))
    if decided.startswith("declined") and not named:
        raise NotPromoted(
            f"{store.name} version {version.version} was {decided}",
            where=store.uri,
            remedy=f"to promote it all the same, name it: `sim4seg promote --version {version.version}`",
        )


def _refusal(store: Store, version: ModelVersion, assessment: Assessment) -> NotPromoted:
    failed, number = assessment.failed, assessment.version
    if not str(version.tags.get(DECISION, "")).startswith("promoted"):  # a former champion keeps its record
        store.set_tag(version, DECISION, ("refused: " + "; ".join(failed))[:DECISION_LENGTH])
    return NotPromoted(
        f"{store.name} version {number} is not promoted, {len(failed)} "
        f"rule{'s' if len(failed) > 1 else ''} failed:\n" + "\n".join(f"  - {one}" for one in failed),
        where=store.uri,
        remedy="train a better model, or, if the rule is wrong for you, change `register` in params.yaml",
    )


def promote(
    params: Register,
    version: int | str | None = None,
    workspace: Path = Path(),
    who: str | None = None,
    why: str = "",
    data: Path | None = None,
) -> Promotion:
    """Make a version the champion if it meets every rule.

    Rules: evidence complete and unchanged; the gates passed; mean gIoU, cIoU and Acc (without test-time scaling) at or
    above ``floors``; gIoU above the centre prior's and Acc above the majority label's if ``beat_baselines``; the stored
    weights are those that were registered. Against a champion, on the same test cases scored by the same code: the
    interval of each mean difference does not reach below ``-margin``, and no sub-dataset, modality or label of
    ``subgroup_min`` cases or more is worse by over ``subgroup_margin``.

    The comparison is made without the registry's lock. If another promotion comes first, this one says so, and compares
    with the new champion. Killed at any moment, the next call completes what was logged.

    Args:
        version: None = the candidate.
        workspace: project folder of the registry.
        who: for the log; None = the user's name.
        why: for the log, beside what was checked.
        data: project folder with shards and manifest, for scoring a champion again; None = ``workspace``.

    Raises:
        NotPromoted: rules failed, all of them listed and by how much; or the candidate was declined.
        RegistryError: no such version, or the log was tampered with.
        DataError: the champion must be scored again and the data for it are not there.
        Unreachable: the registry, or the store of ``register.export``, is out of reach.
    """
    store = Store(params.name, workspace)
    done = _promoted(params, store, version, who, why, data or workspace)
    return _exported(params, store, done)


def _promoted(
    params: Register, store: Store, version: int | str | None, who: str | None, why: str, data: Path
) -> Promotion:
    ledger, met = Ledger(store), []
    for _ in range(ATTEMPTS):
        with locked(store.workspace):
            finished = ledger.settle()
            candidate, champion = chosen(store, version), store.alias(CHAMPION)
            if _number(champion) == _number(candidate):
                return _already(store, candidate, finished)
            _not_declined(store, candidate, version is not None)
        assessment = assess_version(params, store, candidate, champion, data)
        with locked(store.workspace):
            ledger.settle()
            now = store.alias(CHAMPION)
            if _number(now) == _number(candidate):
                done = _already(store, candidate, None)
                return replace(done, message=f"{done.message}: another promotion of it came first")
            if _number(now) != _number(champion):
                met.append(f"version {_number(now)} became champion while this one was compared with {_of(champion)}")
                continue
            _attach(store, candidate, assessment)
            if assessment.failed:
                raise _refusal(store, candidate, assessment)
            reason = "; ".join([*([why] if why else []), *met, *assessment.remarks])
            ledger.record("promote", candidate, champion, who, reason)
            return _crowned(store, "promoted", candidate, champion, reason)
    raise RegistryError(
        f"the champion changed {ATTEMPTS} times while {store.name} version {_number(candidate)} was compared with it",
        where=store.uri,
        remedy="see `sim4seg history` for who promotes, then promote again",
    )


def _attach(store: Store, version: ModelVersion, assessment: Assessment) -> None:
    report = store.workspace / "work" / f"comparison-{assessment.version}" / "comparison.json"
    write_json(report, assessment.as_json())
    store.attach(version, report)


def refuse(params: Register, assessment: Assessment, workspace: Path = Path()) -> Promotion:
    """Record why a version that was assessed is not promoted; makes no champion, whatever has changed since.

    Args:
        assessment: of :func:`sim4seg.registry.assess`, with failed rules.
        workspace: project folder of the registry.

    Returns:
        Only if the version is the champion, which is said and not refused.

    Raises:
        NotPromoted: as :func:`promote` does.
        RegistryError: no such version, or the log was tampered with.
    """
    assert assessment.failed, "a version that meets the rules is promoted or declined"
    store = Store(params.name, workspace)
    with locked(store.workspace):
        finished = Ledger(store).settle()
        version = store.version(assessment.version)
        if _number(store.alias(CHAMPION)) == assessment.version:
            return _already(store, version, finished)
        _attach(store, version, assessment)
        raise _refusal(store, version, assessment)


def _of(champion: ModelVersion | None) -> str:
    return f"version {champion.version}" if champion is not None else "none"


def _crowned(store: Store, verb: str, version: ModelVersion, champion: ModelVersion | None, why: str) -> Promotion:
    before = f", in place of {_of(champion)}" if champion else ""
    message = f"{verb} {store.name} version {version.version}{before}: {why}"
    return Promotion(store.name, str(version.version), _number(champion), True, message)


def _exported(params: Register, store: Store, done: Promotion) -> Promotion:
    place = export_champion(params, store)
    return replace(done, message=f"{done.message}; exported to {place}") if place else done


def decline(
    params: Register, version: int | str | None = None, who: str | None = None, why: str = "", workspace: Path = Path()
) -> Promotion:
    """Log that a version shall not become champion; the candidate is then not promoted unless it is named.

    Args:
        version: None = the candidate.

    Raises:
        RegistryError: no such version, it is the champion, or the log was tampered with.
    """
    store = Store(params.name, workspace)
    with locked(workspace):
        ledger = Ledger(store)
        finished = ledger.settle()
        one, number = chosen(store, version), ""
        number = str(one.version)
        if number == _number(store.alias(CHAMPION)):
            raise RegistryError(
                f"{store.name} version {number} is the champion and cannot be declined",
                where=store.uri,
                remedy="`sim4seg rollback VERSION` makes another one champion",
            )
        if str(one.tags.get(DECISION, "")).startswith("declined"):
            changed = finished is not None and finished.version == number
            return Promotion(
                store.name, number, None, changed, f"{store.name} version {number} is {one.tags[DECISION]}"
            )
        entry = ledger.record("decline", one, None, who, why or "no reason given")
    return Promotion(store.name, number, None, True, f"declined {store.name} version {number}: {entry.why}")


def rollback(
    params: Register, version: int | str, why: str = "", workspace: Path = Path(), who: str | None = None
) -> Promotion:
    """Make an earlier champion the champion again; the rules are not asked, its weights are checked.

    Raises:
        RegistryError: the version never was champion, its weights were changed, or the log was tampered with.
        Unreachable: the registry, or the store of ``register.export``, is out of reach.
    """
    store = Store(params.name, workspace)
    with locked(workspace):
        ledger = Ledger(store)
        finished = ledger.settle(repair=True)
        one, champion = store.version(version), store.alias(CHAMPION)
        number, champions = str(one.version), ledger.champions()
        if number not in champions:
            raise RegistryError(
                f"{store.name} version {number} never was champion",
                where=str(ledger.path),
                remedy=f"earlier champions: {', '.join(champions) or 'none'}; `promote` a new one by the rules",
            )
        if number == _number(champion):
            done = _already(store, one, finished)
        else:
            store.weights(one, fresh=True)
            reason = why or "no reason given"
            ledger.record("rollback", one, champion, who, reason)
            done = _crowned(store, "rolled back to", one, champion, reason)
    return _exported(params, store, done)


def history(workspace: Path = Path(), params: Register | None = None) -> list[LogEntry]:
    """The verified promotion log, oldest first.

    Args:
        params: compare the log also with what this registry holds, so that entries cut off at the end are noticed.

    Raises:
        RegistryError: the log was changed after it was written.
    """
    entries = promotion_log.read(log_path(workspace))
    if params is not None and not is_missing(workspace):
        Ledger(Store(params.name, workspace)).entries()
    return entries
