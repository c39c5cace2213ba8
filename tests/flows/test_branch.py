"""The branch of a retraining in a real git repository: made, taken up, moved on, pushed, refused.

Where the project is the whole repository, and where it is a folder in one.
"""

import subprocess
from pathlib import Path

import pytest

from flows.branch import close_branch, commit, open_branch, publish, refuse_uncommitted_parameters
from flows.workspace import FOLDER, workspace_lock
from sim4seg.errors import Sim4SegError, Unreachable
from sim4seg.git import GitError, checked_out, git

DIGEST = "ab" * 32


@pytest.fixture(params=["", "ml/", "teams/ünit a/ml/"], ids=["alone", "in a folder", "deeper"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Of the project in its repository."""
    return request.param


@pytest.fixture
def repository(tmp_path: Path, prefix: str) -> Path:
    root = tmp_path / "project"
    folder = root / prefix
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("base: {seed: 17}\n")
    (folder / ".gitignore").write_text("/work/\n")
    for command in (
        ("init", "-q"), ("config", "user.name", "t"), ("config", "user.email", "t@localhost"),
        ("config", "core.quotePath", "false"),
    ):  # fmt: skip
        git(root, *command)
    (root / "neighbour.txt").write_text("of another team")
    git(root, "add", "neighbour.txt")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    return folder


def advance(repository: Path) -> None:
    (repository / "new.txt").write_text("new")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "mended")


def test_what_is_made_is_committed_on_the_branch_and_nowhere_else(repository: Path, prefix: str) -> None:
    branch = open_branch(repository, DIGEST)
    assert branch.worktree == repository / FOLDER / DIGEST[:12]
    assert branch.tree == branch.worktree / prefix and (branch.tree / "params.yaml").is_file()
    (branch.tree / "dvc.lock").write_text("schema: '2.0'\n")
    (branch.tree / "scratch.txt").write_text("not a record")
    made = commit(branch, "Retrain")
    assert commit(branch, "again") == made, "nothing changed, nothing committed"
    close_branch(branch)
    assert not branch.worktree.exists()
    assert branch.name.startswith("retrain/") and branch.name.endswith(f"-{DIGEST[:12]}")
    assert git(repository, "show", "--name-only", "--format=", branch.name).splitlines() == [f"{prefix}dvc.lock"]
    assert git(repository, "status", "--porcelain") == ""


def test_a_killed_run_is_taken_up(repository: Path) -> None:
    first = open_branch(repository, DIGEST)
    (first.tree / "half.txt").write_text("half")
    second = open_branch(repository, DIGEST)
    assert second == first and (second.tree / "half.txt").read_text() == "half"


def test_a_new_commit_is_used_and_checkpoints_are_kept(repository: Path) -> None:
    first = open_branch(repository, DIGEST)
    (first.tree / "work").mkdir()
    (first.tree / "work/checkpoint").write_text("step 500")
    advance(repository)
    second = open_branch(repository, DIGEST)
    assert (second.tree / "new.txt").is_file(), "the mended code is what runs"
    assert (second.tree / "work/checkpoint").read_text() == "step 500"
    names = git(repository, "branch", "--format=%(refname:short)", "--list", "retrain/*").split()
    assert names == [second.name], "the first branch held nothing"


def test_a_branch_with_commits_is_kept(repository: Path) -> None:
    first = open_branch(repository, DIGEST)
    (first.tree / "dvc.lock").write_text("schema: '2.0'\n")
    commit(first, "Retrain")
    advance(repository)
    git(repository, "branch", "-m", first.name, f"retrain/19990101T000000Z-{DIGEST[:12]}")
    second = open_branch(repository, DIGEST)
    names = git(repository, "branch", "--format=%(refname:short)", "--list", "retrain/*").split()
    assert len(names) == 2 and second.name in names


def test_parameters_must_be_committed(repository: Path, prefix: str) -> None:
    refuse_uncommitted_parameters(repository)
    if prefix:
        (repository / ("../" * prefix.count("/")) / "neighbour.txt").write_text("changed")
        refuse_uncommitted_parameters(repository)
        commit_there, changed = checked_out(repository) or ("", True)
        assert commit_there and not changed, "another team's changes are none of the project's"
    (repository / "params.yaml").write_text("base: {seed: 18}\n")
    with pytest.raises(Sim4SegError, match=r"not committed: .*params.yaml"):
        refuse_uncommitted_parameters(repository)
    assert (checked_out(repository) or ("", False))[1]


def test_push_arrives_is_refused_or_is_out_of_reach(repository: Path, tmp_path: Path) -> None:
    branch = open_branch(repository, DIGEST)
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    git(repository, "remote", "add", "origin", str(remote))
    publish(branch, "origin")
    assert git(remote, "rev-parse", branch.name) == git(branch.tree, "rev-parse", "HEAD")
    (branch.tree / "dvc.lock").write_text("schema: '2.0'\n")
    commit(branch, "Retrain")
    hook = remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no pushes at night; exit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match="refused the push"):
        publish(branch, "origin")
    git(repository, "remote", "set-url", "origin", "http://127.0.0.1:9/none.git")
    with pytest.raises(Unreachable):
        publish(branch, "origin")


def test_the_workspace_is_held_once_and_a_dead_holder_is_named(tmp_path: Path) -> None:
    with workspace_lock("retrain", "one", tmp_path) as first, workspace_lock("retrain", "two", tmp_path) as second:
        assert first.acquired and first.holder == ""
        assert not second.acquired and second.holder == "one"
    with pytest.raises(RuntimeError), workspace_lock("retrain", "three", tmp_path):
        raise RuntimeError("the process would end here")
    with workspace_lock("retrain", "four", tmp_path) as fourth:
        assert fourth.acquired and fourth.holder == "three"
    assert (tmp_path / FOLDER / "retrain.lock").read_text() == ""
