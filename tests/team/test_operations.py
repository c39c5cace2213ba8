"""A team's whole use of the project against real servers: PostgreSQL, Prefect, MLflow and S3 on loopback."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from infra.identities import ADMIN
from infra.secret_scan import secrets_found
from sim4seg.git import git
from tests.data.test_s3 import Faulty
from tests.pipeline.test_kill_and_full_disk import can_mount
from tests.team.team import Team

pytestmark = pytest.mark.slow

TICK = 15.0


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    made = Team(tmp_path_factory.mktemp("ward"))
    made.up()
    yield made
    made.stack.kill()


def next_outcome(team: Team, seen: set[str], *names: str) -> dict[str, Any]:
    """The first run of the schedule, not seen yet, that ended under one of ``names``."""

    def found() -> dict[str, Any] | None:
        for run in team.runs():
            if run["id"] in seen or run["state"]["type"] not in ("COMPLETED", "FAILED", "CRASHED"):
                continue
            seen.add(run["id"])
            assert run["state"]["type"] == "COMPLETED", run["state"]
            if run["state"]["name"] in names:
                return dict(run)
        return None

    return dict(team.wait(found))


def test_from_the_bucket_to_the_champion_and_back(team: Team) -> None:
    seen: set[str] = set()
    team.upload(12)
    team.schedule(TICK)
    first = next_outcome(team, seen, "Promoted")
    assert "version 1" in first["state"]["message"]
    assert first["auto_scheduled"], "the schedule fired, nobody pressed a button"
    next_outcome(team, seen, "UpToDate")
    team.upload(8)
    second = next_outcome(team, seen, "Promoted", "NotPromoted")
    assert second["state"]["name"] == "Promoted", second["state"]
    next_outcome(team, seen, "UpToDate")
    team.stop_schedule()
    history = team.history()
    assert [(one["action"], one["version"], one["replaced"]) for one in history] == [
        ("promote", "1", None), ("promote", "2", "1"),
    ]  # fmt: skip
    _branches_are_the_record(team)
    _bundle_is_exported(team, "2")

    team.run("sim4seg.cli", "rollback", "1", "--why", "worse on the new scanner")
    assert team.history()[-1]["action"] == "rollback"
    _bundle_is_exported(team, "1")
    said = team.run("sim4seg.cli", "reproduce", "models:/sim4seg@champion", "--verify")
    assert "0 failed" in said.lower(), said
    said = team.run("sim4seg.cli", "reproduce", "models:/sim4seg@champion")
    assert "identical" in said, said


def _branches_are_the_record(team: Team) -> None:
    """Two pushed branches, each with its snapshot and lock, and all outputs in the DVC remote; no worktree left."""
    remote = team.folder / "remote.git"
    branches = git(remote, "for-each-ref", "--format=%(refname:short)", "refs/heads/retrain").split()
    assert len(branches) == 2
    counts = [
        len(json.loads(git(remote, "show", f"{one}:source.snapshot.json"))["objects"]) for one in sorted(branches)
    ]
    assert counts[0] < counts[1]
    assert git(team.workspace, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert git(team.workspace, "status", "--porcelain") == "", "the workspace itself is as it was"
    stored = team.stack.s3(ADMIN).list_objects_v2(Bucket="dvc")
    assert stored["KeyCount"] > 5


def _bundle_is_exported(team: Team, version: str) -> None:
    body = team.stack.s3(ADMIN).get_object(Bucket="champion", Key="sim4seg/champion/current.json")["Body"].read()
    assert f"versions/{version}-" in body.decode(), body


def test_one_at_a_time(team: Team) -> None:
    """Two started together: one works, the other is told, or dropped by the server's limit."""
    team.upload(2)
    runs = [team.start_run(), team.start_run()]
    by_hand = team.start("flows.retrain")
    states = [team.ended(run) for run in runs]
    said, _ = by_hand.communicate(timeout=600)
    names = sorted(state["name"] for state in states)
    at_work = sum(name in ("Promoted", "NotPromoted") for name in names) + ("Skipped" not in said)
    assert at_work == 1, (names, said)
    assert team.runs() and len({v["snapshot"] for v in team.versions()}) == len(team.versions())


def test_an_approval_is_asked_for_and_given(team: Team) -> None:
    team.upload(2)
    state = team.ended(team.start_run(policy="approve"))
    assert state["name"] == "AwaitingApproval", state
    waiting = team.wait(lambda: [r for r in team.runs("sim4seg-promotion") if r["state"]["name"] == "Suspended"])
    assert len(waiting) == 1
    champion = [one["version"] for one in team.history()][-1]
    again = team.ended(team.start_run(policy="approve"))
    assert again["name"] == "AwaitingApproval", "asked once, not every night"
    assert len(team.runs("sim4seg-promotion")) == 1
    assert [one["version"] for one in team.history()][-1] == champion, "nothing is promoted unasked"
    team.resume(waiting[0]["id"], {"promote": True, "who": "Dr. Who", "why": "looked at 20 cases"})
    assert team.ended(waiting[0]["id"])["name"] == "Promoted"
    last = team.history()[-1]
    assert last["who"] == "Dr. Who" and "looked at 20 cases" in last["why"]
    assert team.ended(team.start_run())["name"] == "UpToDate"
    assert git(team.workspace, "worktree", "list", "--porcelain").count("worktree ") == 1


def test_a_refused_push_loses_nothing(team: Team) -> None:
    hook = team.folder / "remote.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no pushes at night; exit 1\n")
    hook.chmod(0o755)
    team.upload(2)
    state = team.ended(team.start_run())
    assert state["type"] == "FAILED" and "refused the push" in state["message"], state
    hook.unlink()
    state = team.ended(team.start_run())
    assert state["name"] in ("Promoted", "NotPromoted"), state
    _registry_is_consistent(team)


def test_a_store_that_fails_now_and_then(team: Team) -> None:
    """The bucket answers the first request for each object badly, in one of three ways; the run ends as if it had not.

    Each way by itself is tested in tests/data/test_s3.py.
    """
    team.upload(1)
    kinds = ("503", "slow", "truncated")
    store = Faulty(team.stack.ports["s3"], *kinds)
    try:
        # The proxy only reads, so the champion is not exported in this run.
        said = team.run("flows.retrain", AWS_ENDPOINT_URL=f"http://127.0.0.1:{store.server_port}", SIM4SEG_EXPORT="")
    finally:
        store.shutdown()
    assert "Promoted" in said, said
    assert set(store.failed) == set(kinds), store.failed
    _registry_is_consistent(team)


DISK = """
import subprocess, sys
from pathlib import Path
disk, kilobytes = Path("work/retrain"), int(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(disk)], check=True)
sys.exit(subprocess.run([sys.executable, "-m", "flows.retrain"]).returncode)
"""


@pytest.mark.skipif(not can_mount(), reason="a small disk of one's own needs `unshare -rm`")
def test_a_full_disk_says_so_and_loses_nothing(team: Team) -> None:
    """The worktree's disk holds the checkout and little more."""
    team.upload(1)
    command = ["unshare", "-rm", sys.executable, "-c", DISK, "6000"]
    done = subprocess.run(command, cwd=team.workspace, env=team.environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and ("disk is full" in said or "No space left" in said), said
    git(team.workspace, "worktree", "prune")
    assert "Promoted" in team.run("flows.retrain")
    _registry_is_consistent(team)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs Debian's package faketime")
def test_a_clock_that_jumps(team: Team) -> None:
    """A little: nothing happens. Forty days: the store refuses, the message names the clock, and nothing is lost."""
    team.upload(1)
    for jump, code, word in (("-40d", 1, "clock"), ("+40d", 1, "clock"), ("+10m", 0, "Promoted")):
        done = subprocess.run(
            ["faketime", "-f", jump, sys.executable, "-m", "flows.retrain"],
            cwd=team.workspace, env=team.environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == code and word in said and "marked as crashed" not in said, said
    assert "UpToDate" in team.run("flows.retrain")
    _registry_is_consistent(team)


def _registry_is_consistent(team: Team) -> None:
    champion = [one for one in team.history() if one["action"] != "decline"][-1]["version"]
    assert "is the champion" in team.run("sim4seg.cli", "promote", "--version", champion)


def test_no_secret_is_left_anywhere(team: Team) -> None:
    """Passwords and keys of all servers: not in logs, params, dvc.lock, git, artifacts, caches or databases' files."""
    folders = [team.workspace, team.folder / "remote.git", *team.logs(), team.stack.folder / "s3"]
    allowed = [team.workspace / ".dvc/config.local"]
    assert secrets_found(team.stack.secrets.values(), folders, ignore=allowed) == []
