"""Making a registered version again, in a worktree of its commit, and comparing every digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sim4seg.atomic import write_json
from sim4seg.digest import digest_json
from sim4seg.errors import Sim4SegError
from sim4seg.git import file_at
from sim4seg.lineage.dvc_graph import downstream, graph_of, read_pipeline, upstream
from sim4seg.lineage.dvc_lock import LineageError, Stage, dvc_digest, parse_lock
from sim4seg.lineage.dvc_project import default_remote, run_dvc
from sim4seg.lineage.evidence import RESTORED, Evidence
from sim4seg.lineage.stage_difference import StageDifference, first_difference
from sim4seg.lineage.verify import same_file
from sim4seg.lineage.worktree import add_worktree, environment, project_in, remove_worktree
from sim4seg.locks import try_lock

RUN, RESTORED_DATA = "run", "restored"
TRAIN, REGISTER = "train", "register"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    Attributes:
        label: the version.
        commit: it was made from.
        stages: name to "run", "restored" (its outputs were had by their digests) or "not needed".
        identical: every digest is the recorded one.
        difference: the first stage that differs, and how; None if none does.
        differing: all stages that differ.
        folder: the project in the worktree; gone unless it was to be kept.
    """

    label: str
    commit: str
    stages: dict[str, str]
    identical: bool
    difference: StageDifference | None
    differing: tuple[str, ...]
    folder: str


@dataclass
class _Progress:
    """What has been done, on disk, so that a killed reproduction goes on."""

    file: Path
    identity: str
    stages: dict[str, str] = field(default_factory=dict)

    @classmethod
    def taken_up(cls, file: Path, identity: str) -> _Progress | None:
        try:
            content = json.loads(file.read_bytes())
            return cls(file, identity, dict(content["stages"])) if content["identity"] == identity else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, **stages: str) -> None:
        self.stages |= stages
        write_json(self.file, {"identity": self.identity, "stages": self.stages})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process to the end of the block.

    Raises:
        LineageError: another process has it.
    """
    with try_lock(folder / ".lock") as attempt:
        if not attempt.acquired:
            raise LineageError(
                "another process reproduces this version", where=str(folder), remedy="wait until it has ended"
            )
        yield


def reproduce(
    evidence: Evidence, workspace: Path, *, rebuild: bool = False, keep: bool = False, say: Say = print
) -> Reproduction:
    """Make the version again and compare. Killed at any moment, the same call goes on where it was.

    Nothing is registered, and neither the workspace's files nor DVC's cache get anything of it.

    Args:
        evidence: of the version.
        workspace: the project's folder.
        rebuild: True = the data are made anew from the source too, whatever DVC's cache and remote hold.
        keep: True = the worktree stays.
        say: gets each line of progress.

    Raises:
        LineageError: it was not made under git, or a stage failed.
        GitError: its commit is not in this repository.
    """
    if evidence.commit is None:
        raise LineageError(
            f"{evidence.label} was not made under git, so its code is unknown",
            where="tag sim4seg.git_commit",
            remedy="`sim4seg reproduce --verify` checks what can be checked",
        )
    workspace = workspace.resolve()
    folder = workspace / "work/reproduce" / f"{evidence.registered.name}-{evidence.registered.number}"
    with _alone(folder):
        made = _Making(evidence, workspace, folder, rebuild, say)
        result = made.result()
        (folder / "progress.json").unlink(missing_ok=True)  # another call begins anew
        if not keep:
            remove_worktree(workspace, made.worktree)
        return result


class _Making:
    """One reproduction at work."""

    def __init__(self, evidence: Evidence, workspace: Path, folder: Path, rebuild: bool, say: Say) -> None:
        self.evidence, self.workspace, self.rebuild, self.say = evidence, workspace, rebuild, say
        self.worktree, self.commit = folder / "tree", str(evidence.commit)
        self.tree = project_in(workspace, self.worktree)
        self.lock = evidence.lock
        graph = graph_of(self.lock)
        after = downstream(graph, {REGISTER})
        self.order = [name for name in self.lock if name not in after]
        self.data = [name for name in upstream(graph, TRAIN) if name in self.order]
        files = {name: evidence.read(name).decode() for name in RESTORED}
        identity = digest_json([evidence.registered.number, self.commit, files, rebuild])
        progress = _Progress.taken_up(folder / "progress.json", identity)
        if progress is None:
            if self.worktree.exists():
                remove_worktree(workspace, self.worktree)
            progress = _Progress(folder / "progress.json", identity)
        self.progress = progress

    def result(self) -> Reproduction:
        self._check_out()
        for number, name in enumerate(self.order, start=1):
            self._stage(f"[{number}/{len(self.order)}] {name}", name)
        now = parse_lock((self.tree / "dvc.lock").read_bytes(), str(self.tree / "dvc.lock"))
        ran = [name for name in self.order if self.progress.stages[name] == RUN]
        differing = tuple(name for name in ran if _differs(self.lock[name], now.get(name)))
        difference = None
        if differing:
            difference = first_difference(differing[0], now, self.evidence, self.workspace, self.tree)
        return Reproduction(
            label=self.evidence.label,
            commit=self.commit,
            stages={name: self.progress.stages[name] for name in self.order},
            identical=not differing,
            difference=difference,
            differing=differing,
            folder=str(self.tree),
        )

    def _check_out(self) -> None:
        """The commit's files, with the version's params, snapshot and dvc.lock laid over them."""
        begun = bool(self.progress.stages) and self.tree.exists()
        add_worktree(self.workspace, self.worktree, self.commit)
        self.say(f"{self.evidence.label}, commit {self.commit[:12]}, in {self.tree}")
        if self.evidence.dirty:
            self.say("it was made with changes that were not committed: of those, only the evidence files are known")
        for name in RESTORED:
            data = self.evidence.read(name)
            there = file_at(self.workspace, self.commit, name)
            if there is None or not same_file(name, there, data):
                self.say(f"{name}: the evidence differs from the commit; the evidence is taken")
            if not (begun and name == "dvc.lock"):  # by now it records what was made
                (self.tree / name).write_bytes(data)
        self.environment = environment(self.workspace, self.tree, registry=False)
        if not begun:
            self.progress.note(**({} if self.rebuild else self._restored()))

    def _restored(self) -> dict[str, str]:
        """Have the data's outputs from DVC's cache or remote, by their digests; which stages that makes up for."""
        pipeline = read_pipeline(self.tree / "dvc.yaml")
        outputs = {
            path: md5
            for name in self.data
            if name in pipeline
            for path, md5 in self.lock[name].outs.items()
            if path in pipeline[name].cached
        }
        if not self._has(outputs):
            remote = default_remote(self.workspace)
            for command in (["checkout"], ["pull"] if remote else []):
                if command and not self._has(outputs):
                    self.say(f"restoring the data: dvc {command[0]}{f' from {remote}' if command == ['pull'] else ''}")
                    self._try_dvc(*command, "--force", *outputs)
        if not self._has(outputs):
            self.say("the data are in neither DVC's cache nor its remote: they are made anew")
            return {}
        return {name: RESTORED_DATA if set(self.lock[name].outs) & set(outputs) else "not needed" for name in self.data}

    def _has(self, outputs: dict[str, str]) -> bool:
        return all(dvc_digest(self.tree / path) == md5 for path, md5 in outputs.items())

    def _try_dvc(self, *arguments: str) -> None:
        try:
            run_dvc(self.tree, self.environment, *arguments, show=lambda line: None)
        except Sim4SegError as error:
            self.say(error.what)

    def _stage(self, title: str, name: str) -> None:
        done = self.progress.stages.get(name)
        if done is not None:
            self.say(f"{title}: {done}{' before' if done == RUN else ''}")
            return
        self.say(f"{title}: running")
        # --force: not from the run cache, which would only hand back the old result. --no-commit: nothing to the cache.
        run_dvc(
            self.tree,
            self.environment,
            *("repro", "--single-item", "--force", "--no-commit", name),
            show=lambda line: self.say(f"    {line}"),
        )
        self.progress.note(**{name: RUN})


def _differs(then: Stage, now: Stage | None) -> bool:
    return now is None or (then.cmd, dict(then.params), dict(then.deps), dict(then.outs)) != (
        now.cmd,
        dict(now.params),
        dict(now.deps),
        dict(now.outs),
    )
