"""Retraining where the project is a folder of a larger repository: the whole flow on a project of a few lines."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.branch import open_branch
from flows.workspace import FOLDER
from sim4seg.config.params import Params
from sim4seg.data.snapshot import Snapshot, snapshot_digest, write_snapshot
from sim4seg.git import git
from tests.lineage.conftest import clear
from tests.lineage.small import SmallProject
from tests.settings import params

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)


def test_new_data_are_trained_on_committed_and_registered(tmp_path: Path) -> None:
    project = SmallProject(tmp_path / "mono/ml", repository=tmp_path / "mono")
    settings = project.folder / "params.yaml"
    settings.write_text(settings.read_text().replace("beat_baselines: true", "beat_baselines: false"))
    git(project.folder, "commit", "-qam", "Parameters")
    (project.folder / "raw/generic/images/9.png").write_bytes(b"new")
    done = subprocess.run(
        [sys.executable, "-m", "flows.retrain"], cwd=project.folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "Promoted: promoted sim4seg version 2" in done.stdout, done.stdout + done.stderr
    (branch,) = git(project.folder, "branch", "--format=%(refname:short)", "--list", "retrain/*").split()
    changed = git(project.folder, "diff", "--name-only", f"HEAD...{branch}").split()
    assert {"ml/dvc.lock", "ml/source.snapshot.json"} <= set(changed)
    assert all(name.startswith("ml/") for name in changed)
    assert git(project.folder, "worktree", "list").count("\n") == 0, "the worktree is gone"


def test_worktrees_of_decided_versions_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import retrain

    project = tmp_path / "mono/ml"
    project.mkdir(parents=True)
    git(tmp_path / "mono", "init", "-q")
    (project / ".gitignore").write_text("/work/\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "start")
    decided, waiting = Snapshot(kind="phantoms"), Snapshot(kind="s3", root="s3://b/")
    for snapshot in (decided, waiting):
        write_snapshot(open_branch(project, snapshot_digest(snapshot)).tree / "source.snapshot.json", snapshot)
    (project / FOLDER / "retrain.lock").touch()

    class Version:
        def __init__(self, digest: str) -> None:
            self.decision = "promoted" if digest == snapshot_digest(decided) else ""

    def known(_: Params, digest: str) -> Version:
        return Version(digest)

    monkeypatch.setattr(retrain, "_known_version", known)
    monkeypatch.chdir(project)
    retrain._close_decided(params())
    left = [path.name for path in FOLDER.iterdir() if path.is_dir()]
    assert left == [snapshot_digest(waiting)[:12]]
