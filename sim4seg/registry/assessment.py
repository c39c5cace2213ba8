"""Whether a version may become champion: every rule asked, the candidate compared with the champion case by case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim4seg.comparison.differences import FIGURES, Comparison, FigureDifference
from sim4seg.config.register import Register
from sim4seg.errors import RegistryError
from sim4seg.evaluation.bootstrap import COVERAGE
from sim4seg.registry import evidence, rules
from sim4seg.registry.compare_versions import compare_versions
from sim4seg.registry.store import CANDIDATE, CHAMPION, Store
from sim4seg.registry.tags import CHANGES, COMMIT, NONE

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Assessment:
    """What the rules say of a version.

    Attributes:
        name: registered model.
        version: the one that was looked at.
        champion: the one it was compared with; None if there is none.
        failed: rules that it does not meet, each with by how much.
        remarks: what was checked, and what a reader should know.
        comparison: figures of both and their differences; None for a first champion.
        subgroup_min: subgroups with fewer cases were not judged.
    """

    name: str
    version: str
    champion: str | None
    failed: tuple[str, ...]
    remarks: tuple[str, ...]
    comparison: Comparison | None
    subgroup_min: int

    def as_json(self) -> dict[str, Any]:
        """For comparison.json; the same inputs give the same values."""
        return {
            "name": self.name,
            "version": self.version,
            "champion": self.champion,
            "failed": list(self.failed),
            "remarks": list(self.remarks),
            "comparison": self.comparison.as_json() if self.comparison else None,
        }

    def markdown(self) -> str:
        """For people: the verdict, then the tables."""
        against = f" against champion {self.champion}" if self.champion else ""
        verdict = "does not meet the rules" if self.failed else "meets the rules"
        lines = [f"## {self.name} version {self.version}{against}: {verdict}", ""]
        lines += [f"- **failed:** {one}" for one in self.failed]
        lines += [f"- {one}" for one in self.remarks]
        if self.comparison:
            lines += ["", *_tables(self.comparison, self.subgroup_min)]
        return "\n".join(lines) + "\n"


def _change(figure: FigureDifference) -> str:
    return f"{100 * figure.champion:.2f} → {100 * figure.candidate:.2f} ({100 * figure.difference:+.2f})"


def _tables(comparison: Comparison, subgroup_min: int) -> Iterator[str]:
    yield f"Mean over datasets, {comparison.n} paired cases, times 100; interval of the difference {COVERAGE:.0%}:"
    yield ""
    yield "| figure | champion | candidate | difference | interval |"
    yield "|---|---:|---:|---:|---:|"
    for key, title in FIGURES.items():
        one = comparison.mean[key]
        low, high = 100 * (one.low or 0), 100 * (one.high or 0)
        yield (
            f"| {title} | {100 * one.champion:.2f} | {100 * one.candidate:.2f} | {100 * one.difference:+.2f} "
            f"| {low:+.2f} to {high:+.2f} |"
        )
    yield ""
    yield "| subgroup | cases | " + " | ".join(FIGURES.values()) + " | judged |"
    yield "|---|---:|" + "---:|" * len(FIGURES) + "---|"
    for group in comparison.groups:
        cells = " | ".join(_change(group.figures[key]) for key in FIGURES)
        judged = "yes" if group.n >= subgroup_min else f"no, under {subgroup_min}"
        yield f"| {group.kind} {group.name} | {group.n} | {cells} | {judged} |"


def chosen(store: Store, version: int | str | None) -> ModelVersion:
    """The version named, or the candidate.

    Raises:
        RegistryError: there is none.
    """
    if version is not None:
        return store.version(version)
    candidate = store.alias(CANDIDATE)
    if candidate is None:
        raise RegistryError(
            f"{store.name} has no candidate", where=store.uri, remedy="register one first: `dvc repro register`"
        )
    return candidate


def assess(
    params: Register, version: int | str | None = None, workspace: Path = Path(), data: Path | None = None
) -> Assessment:
    """Ask every rule, change nothing.

    Args:
        version: None = the candidate.
        workspace: project folder of the registry.
        data: project folder with shards and manifest, for scoring a champion again; None = ``workspace``.

    Raises:
        RegistryError: no such version, or evidence that a comparison needs cannot be read.
        DataError: the champion must be scored again and the data for it are not there.
        Unreachable: the registry is out of reach.
    """
    store = Store(params.name, workspace)
    return assess_version(params, store, chosen(store, version), store.alias(CHAMPION), data or workspace)


def assess_version(
    params: Register, store: Store, version: ModelVersion, champion: ModelVersion | None, data: Path
) -> Assessment:
    """:func:`assess` of a version against a given champion."""
    faults = evidence.faults(store, version)
    failed, remarks = _by_itself(params, store, version)
    failed = faults + failed
    comparison = None
    if champion is None or str(champion.version) == str(version.version):
        remarks.append("first champion" if champion is None else "is the champion")
        champion = None
    elif faults:
        remarks.append(f"not compared with version {champion.version}: the evidence is not complete")
    else:
        comparison, notes = compare_versions(store, version, champion, data)
        remarks += notes
        if comparison is None:
            failed.append(f"no comparison with champion {champion.version} is possible: {notes[-1]}")
        else:
            failed += rules.worse_than_champion(params, comparison)
            failed += rules.worse_in_a_subgroup(params, comparison)
            remarks.append(_judged(params, comparison))
    return Assessment(
        name=store.name,
        version=str(version.version),
        champion=str(champion.version) if champion else None,
        failed=tuple(failed),
        remarks=tuple(remarks),
        comparison=comparison,
        subgroup_min=params.subgroup_min,
    )


def _judged(params: Register, comparison: Comparison) -> str:
    small = sum(group.n < params.subgroup_min for group in comparison.groups)
    return (
        f"margin {params.margin:g}, in subgroups {params.subgroup_margin:g}; {small} of {len(comparison.groups)} "
        f"subgroups have fewer than {params.subgroup_min} cases and were not judged"
    )


def _by_itself(params: Register, store: Store, version: ModelVersion) -> tuple[list[str], list[str]]:
    """Failed rules and remarks of what needs no champion."""
    metrics = evidence.read_json(store, version, "metrics.json")
    gates = {gate: evidence.read_json(store, version, f"{gate}.json") for gate in rules.GATES}
    failed = rules.gates_not_passed(gates)
    failed += rules.below_floors(params, metrics)
    if params.beat_baselines:
        failed += rules.not_above_baselines(metrics)
    not_shown = rules.not_shown_to_look(metrics)
    if params.require_evidence:
        failed += [f"register.require_evidence: {sentence}" for sentence in not_shown]
    commit = str(version.tags.get(COMMIT, NONE))
    failed += rules.commit_not_clean(params, commit)
    try:
        store.weights(version, fresh=True)
    except RegistryError as error:
        failed.append(error.what)
    asked = ["floors", *(["baselines"] if params.beat_baselines else []), "gates, lineage and weights checked"]
    remarks = [", ".join(asked)]
    if not params.require_evidence:
        remarks += [f"register.require_evidence is off: {sentence}" for sentence in not_shown]
    if commit == NONE:
        remarks.append("made outside git")
    elif commit.endswith(CHANGES):
        remarks.append(f"made from commit {commit[:12]} with changes that are in no commit")
    return failed, remarks
