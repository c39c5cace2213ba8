"""The first stage that came out otherwise, and the likely cause."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from sim4seg.errors import Sim4SegError
from sim4seg.git import file_at
from sim4seg.lineage.differences_in_words import Files, file_differences, input_differences, package_differences
from sim4seg.lineage.dvc_cache import Damaged, Objects
from sim4seg.lineage.dvc_lock import Lock, dvc_digest, md5_bytes
from sim4seg.lineage.dvc_project import cache_folder
from sim4seg.lineage.evidence import Evidence

MODEL = "models/sim4seg"


@dataclass(frozen=True)
class StageDifference:
    """A stage that was made again and is not the same.

    Attributes:
        stage: its name.
        inputs: what went in otherwise.
        outputs: what came out otherwise, by output path.
        cause: the likely cause, if the inputs are the same.
    """

    stage: str
    inputs: list[str]
    outputs: dict[str, list[str]]
    cause: list[str]


def first_difference(stage: str, now: Lock, evidence: Evidence, workspace: Path, tree: Path) -> StageDifference:
    """Compare one stage's record and files with what the evidence says.

    Args:
        stage: the first that differs.
        now: dvc.lock as it is after the reproduction.
        evidence: of the version.
        workspace: the project's folder, whose cache and git may hold the earlier outputs.
        tree: the worktree with the new outputs.
    """
    then = evidence.lock[stage]
    produced = {path for each in evidence.lock.values() for path in each.outs}
    inputs = input_differences(then, now[stage], produced)
    outputs: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for path, md5 in then.outs.items():
            if now[stage].outs.get(path) != md5:
                before = _before(path, md5, evidence, workspace, Path(scratch))
                outputs[path] = file_differences(before, _after(tree / path))
    return StageDifference(stage, inputs, outputs, [] if inputs else _cause(evidence))


def _after(path: Path) -> Files | None:
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    return {"": path} if path.is_file() else None


def _before(path: str, md5: str, evidence: Evidence, workspace: Path, scratch: Path) -> Files | None:
    """The earlier output: from the registry, DVC's cache, the workspace or git, whichever has that digest."""
    if path == MODEL:
        try:
            folder = evidence.registered.weights()
        except Sim4SegError:
            return None
        return _after(folder) if dvc_digest(folder) == md5 else None
    carried = evidence.folder / Path(path).name
    if carried.is_file() and dvc_digest(carried) == md5:
        return {"": carried}
    try:
        cached = Objects(workspace, cache_folder(workspace)).files(path, md5)
    except Damaged:
        cached = None
    if cached is not None or evidence.commit is None:
        return cached
    data = file_at(workspace, evidence.commit, path)
    if data is None or md5_bytes(data) != md5:
        return None
    (scratch / "earlier").write_bytes(data)
    return {"": scratch / "earlier"}


def _cause(evidence: Evidence) -> list[str]:
    """Why equal inputs may give other outputs."""
    try:
        packages = package_differences(evidence.packages())
    except Sim4SegError as error:
        return [f"the packages it was made with are unknown: {error.what}"]
    if packages:
        return [f"other packages: {', '.join(packages)}"]
    return [
        "same code, parameters, inputs and packages: another machine type, whose processor sums in another order, "
        "or other variables in the environment (thread counts)"
    ]
