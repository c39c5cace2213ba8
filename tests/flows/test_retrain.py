"""Retraining on one machine: no server but what the flow starts itself, registry in the workspace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.workspace import workspace_lock
from sim4seg.config.overlay import laid_over
from sim4seg.git import git
from tests.pipeline.project import Project
from tests.ports import free_port

pytestmark = pytest.mark.slow

CHANGES = {
    "gate_data": {"min_rows": 4},
    "evaluate": {"tts": {"paths": 1, "perturbations": 1}},
    "register": {"beat_baselines": False},
    "retrain": {"retries": 0},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("alone") / "project")
    file = made.folder / "params.yaml"
    file.write_text(yaml.safe_dump(laid_over(yaml.safe_load(file.read_text()), CHANGES), sort_keys=False))
    for pair in (("user.name", "t"), ("user.email", "t@localhost")):
        git(made.folder, "config", *pair)
    git(made.folder, "commit", "-qam", "Parameters")
    yield made
    for pid in subprocess.run(["pgrep", "-f", "uvicorn"], capture_output=True, text=True).stdout.split():
        if _works_in(pid, made.folder):
            os.kill(int(pid), signal.SIGKILL)


def retrain(project: Project, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.retrain", *arguments],
        cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_killed_then_promoted_then_up_to_date(project: Project) -> None:
    command = [sys.executable, "-m", "flows.retrain"]
    # No pipe: Prefect's embedded server outlives a killed flow, and would hold it open.
    child = subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL)
    tree = project.folder / "work/retrain"
    until = time.monotonic() + 300
    while not list(tree.glob("*/data/gates/gate_data.json")) and time.monotonic() < until:
        time.sleep(0.2)
    os.kill(child.pid, signal.SIGKILL)  # only the flow: DVC and the stage under it must end by themselves
    child.wait()
    time.sleep(1)
    found = subprocess.run(["pgrep", "-f", "stages\\.|flows.dvc_child"], capture_output=True, text=True)
    mine = [pid for pid in found.stdout.split() if _works_in(pid, project.folder)]
    assert not mine, "a stage keeps running with no one waiting for it"
    branches = git(project.folder, "branch", "--list", "retrain/*").split()

    code, said = retrain(project)
    assert code == 0 and "Promoted: promoted sim4seg version 1" in said, said
    assert "fetch: up to date" in said and "ingest: up to date" in said, "what was done is not done again"
    assert [name for name in git(project.folder, "branch", "--list", "retrain/*").split() if name not in "+*"] == [
        name for name in branches if name not in "+*"
    ]
    assert not list(tree.glob("*/")), "the worktree is gone"
    code, said = retrain(project)
    assert code == 0 and "UpToDate" in said and "promoted" in said, said


def _works_in(pid: str, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(folder)
    except OSError:
        return False


def test_the_second_of_two_is_told(project: Project) -> None:
    with workspace_lock("retrain", "the-first", project.folder):
        code, said = retrain(project)
    assert code == 0 and "Skipped: another retraining is at work here: flow run the-first" in said, said


def test_parameters_that_are_not_committed(project: Project) -> None:
    file = project.folder / "params.yaml"
    before = file.read_text()
    file.write_text(before + "# changed\n")
    code, said = retrain(project)
    file.write_text(before)
    assert code == 1 and "not committed: params.yaml" in said and "Traceback" not in said, said


def test_served_on_a_schedule(project: Project) -> None:
    """`flows.serve` with a server of its own: the schedule fires, and both end with the command."""
    port = str(free_port())
    environment = {**project.environment, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    log = project.folder / "work/serve.log"
    with open(log, "w") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.serve", "--every", "5", "--port", port],
            cwd=project.folder, env=environment, stdout=stream, stderr=subprocess.STDOUT, text=True,
            # Tests that run in the background inherit a Ctrl-C that is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
    try:
        until = time.monotonic() + 240
        while "up to date: version 1" not in log.read_text() and child.poll() is None and time.monotonic() < until:
            time.sleep(1)
        assert "up to date: version 1" in log.read_text(), log.read_text()
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=60)
    left = subprocess.run(["pgrep", "-f", f"prefect server start.*{port}"], capture_output=True, text=True).stdout
    assert not left, "its server ended with it"
