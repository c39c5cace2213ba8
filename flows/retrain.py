"""Retraining on new data: ``python -m flows.retrain [--force] [--policy auto|approve]``.

Takes a snapshot of the source. If a version was made from the same snapshot and dealt with, there is nothing to do.
Otherwise the pipeline runs in a git worktree on a branch of its own, is committed and pushed, and its model is
registered as candidate; then the promotion policy decides. Killed at any moment, the next run goes on where it was.
Exit code 0 = done or nothing to do, 3 = a gate refused, 1 = anything else.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.prefect_home import configure

configure(server=True)

from prefect import flow, runtime, tags  # noqa: E402
from prefect.artifacts import create_markdown_artifact  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.states import Completed  # noqa: E402

from flows.branch import (  # noqa: E402
    Branch,
    close_branch,
    commit,
    open_branch,
    publish,
    refuse_uncommitted_parameters,
)
from flows.dvc_runner import DvcRunner  # noqa: E402
from flows.notification import notify  # noqa: E402
from flows.promote import AWAITING, decide  # noqa: E402
from flows.recovery import RETRAIN, mark_dead_runs  # noqa: E402
from flows.stage import Limits, run_stages  # noqa: E402
from flows.step import REFUSED, Retries, StepFailed, failed, run_step  # noqa: E402
from flows.workspace import FOLDER, workspace_lock, workspace_tag  # noqa: E402
from sim4seg.config.params import Params, load_params  # noqa: E402
from sim4seg.data.snapshot import Snapshot, read_snapshot, snapshot_digest, write_snapshot  # noqa: E402
from sim4seg.errors import GateRefused, Sim4SegError  # noqa: E402
from sim4seg.lineage.dvc_graph import read_graph  # noqa: E402
from sim4seg.lineage.dvc_project import default_remote  # noqa: E402
from sim4seg.lineage.worktree import environment, project_in, remove_worktree  # noqa: E402

if TYPE_CHECKING:
    from sim4seg.registry import KnownVersion

REGISTER = "register"
SNAPSHOT = "source.snapshot.json"
Policy = Literal["auto", "approve"]


def _take_snapshot(params: Params) -> Snapshot:
    from sim4seg.data.sources import open_source

    return open_source(params.base, params.fetch).take_snapshot()


def _known_version(params: Params, digest: str) -> KnownVersion | None:
    from sim4seg.registry import newest_of_snapshot

    return newest_of_snapshot(params.register_, digest)


def _registered(params: Params, digest: str) -> int:
    """The version that the stage has just registered."""
    version = _known_version(params, digest)
    if version is None:
        raise Sim4SegError(
            "the registered version is not in the registry that this flow uses",
            where="MLFLOW_TRACKING_URI",
            remedy="see the output of the stage register: which registry did it use?",
        )
    return version.number


def _build(params: Params, snapshot: Snapshot, digest: str, force: bool, limits: Limits) -> tuple[Branch, int]:
    """The stages in the branch's worktree, committed, pushed, registered; the branch and the version."""
    retries = limits.retries
    branch = run_step("worktree", lambda: open_branch(Path(), digest), retries)
    print(f"{branch.name}, from commit {branch.commit[:12]}", flush=True)
    write_snapshot(branch.tree / SNAPSHOT, snapshot)
    dvc = DvcRunner(branch.tree, environment(branch.workspace, branch.tree))
    stages = list(read_graph(branch.tree / "dvc.yaml"))
    run_stages(dvc, [stage for stage in stages if stage != REGISTER], force, limits)
    what = f"{len(snapshot.objects)} objects" if snapshot.objects else snapshot.kind
    run_step("commit", lambda: commit(branch, f"Retrain on snapshot {digest[:12]} ({what})"), retries)
    if default_remote(branch.tree):
        run_step("dvc push", dvc.push, retries)
    _push(params, branch, retries)
    run_stages(dvc, [REGISTER], force, limits)
    run_step("commit", lambda: commit(branch, f"Register the model of snapshot {digest[:12]}"), retries)
    _push(params, branch, retries)
    return branch, run_step("version", lambda: _registered(params, digest), retries)


def _push(params: Params, branch: Branch, retries: Retries) -> None:
    remote = params.retrain.git_remote
    if remote:
        run_step("git push", lambda: publish(branch, remote), retries)


def _retrain(params: Params, force: bool, policy: Policy) -> State[Any]:
    settings = params.retrain
    retries = Retries(settings.retries, settings.retry_seconds)
    limits = Limits(settings.stage_hours * 3600, time.monotonic() + settings.flow_hours * 3600, retries)
    snapshot = run_step("snapshot", lambda: _take_snapshot(params), retries)
    digest = snapshot_digest(snapshot)
    version = run_step("version", lambda: _known_version(params, digest), retries)
    run_step("tidy", lambda: _close_decided(params), retries)
    if version is not None and version.decision and not force:
        return Completed(
            name="UpToDate",
            message=f"up to date: version {version.number} was made from this snapshot, {version.decision}",
        )
    branch, number = _build(params, snapshot, digest, force, limits)
    results = branch.tree / "reports/results.md"
    if results.is_file():
        create_markdown_artifact(results.read_text(encoding="utf-8"), key="sim4seg-results", description=branch.name)
    state = decide(params, number, policy, branch.tree, retries)
    if state.name != AWAITING:  # who approves may want the champion scored again on these data
        run_step("close", lambda: close_branch(branch))
    return state


def _close_decided(params: Params) -> None:
    """Remove the worktrees of versions that were waiting for approval and have been decided since."""
    for worktree in sorted(path for path in FOLDER.glob("*") if path.is_dir()):
        file = project_in(Path(), worktree) / SNAPSHOT
        version = _known_version(params, snapshot_digest(read_snapshot(file))) if file.is_file() else None
        if version is not None and version.decision:
            remove_worktree(Path(), worktree)


@flow(name=RETRAIN, log_prints=True, on_completion=[notify], on_failure=[notify], on_crashed=[notify])
def retrain(force: bool = False, policy: Policy | None = None) -> State[Any]:
    """Retrain if there are new data, then promote or ask.

    Args:
        force: also with nothing new; every stage runs.
        policy: auto or approve; None = ``retrain.policy``.
    """
    me = str(runtime.flow_run.id)
    with workspace_lock("retrain", me) as attempt:
        if not attempt.acquired:
            return Completed(name="Skipped", message=f"another retraining is at work here: flow run {attempt.holder}")
        dead = mark_dead_runs(RETRAIN, workspace_tag(), me, attempt.holder)
        if dead:
            print(f"marked as crashed, their processes died: {', '.join(dead)}")
        try:
            refuse_uncommitted_parameters(Path())
            params = load_params()
            return _retrain(params, force, policy or params.retrain.policy)
        except StepFailed as error:
            return error.state
        except Sim4SegError as error:
            return failed(error)


def main() -> int:
    """Run once, now; the exit code is in the module's text."""
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="retrain though nothing is new")
    parser.add_argument("--policy", choices=("auto", "approve"), help="default: retrain.policy of params.yaml")
    given = parser.parse_args()
    with tags(workspace_tag()):
        state = retrain(given.force, given.policy, return_state=True)
    print(f"{state.name}: {state.message}", file=sys.stdout if state.is_completed() else sys.stderr)
    if state.is_completed():
        return 0
    return GateRefused.exit_code if state.name == REFUSED else 1


if __name__ == "__main__":
    sys.exit(main())
