"""Worktrees with the real git and DVC: made, taken up after a kill, isolated, and every refusal."""

import os
import shutil
import subprocess
import sys

import pytest

from sim4seg.git import GitError, file_at, git, has_commit
from sim4seg.lineage.worktree import add_worktree, environment, project_in, remove_worktree
from tests.lineage.conftest import run

pytestmark = pytest.mark.slow

SHOW = "import stages.show, sys; print(stages.show.WHERE)"


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "main"
    (folder / "stages").mkdir(parents=True)
    (folder / "stages/__init__.py").touch()
    (folder / "stages/show.py").write_text("WHERE = 'committed'\n")
    (folder / "params.yaml").write_text("fetch: {source: local, root: raw}\n")
    run(folder, "git", "init", "-qb", "main")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "start")
    return folder


def test_a_commit_and_the_main_checkout_apart(repository, tmp_path):
    first = git(repository, "rev-parse", "HEAD")
    (repository / "stages/show.py").write_text("WHERE = 'changed since'\n")
    tree = add_worktree(repository, tmp_path / "tree", first)
    assert git(tree, "rev-parse", "HEAD") == first
    there = environment(repository, tree)
    child = [sys.executable, "-c", SHOW]
    # As in the editable install, the main checkout is on the path too: the worktree's code comes first.
    there["PYTHONPATH"] += f"{os.pathsep}{repository}"
    assert subprocess.check_output(child, cwd=tree, env=there, text=True).strip() == "committed"
    assert file_at(repository, first, "stages/show.py") == b"WHERE = 'committed'\n"
    assert file_at(repository, first, "nothing") is None and not has_commit(repository, "0" * 40)
    remove_worktree(repository, tree)
    assert not tree.exists() and str(tree) not in git(repository, "worktree", "list")
    remove_worktree(repository, tree)


def test_environment_names_the_main_registry_or_keeps_off_it(repository, tmp_path, monkeypatch):
    tree = add_worktree(repository, tmp_path / "tree", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    with_registry = environment(repository, tree)
    assert with_registry["MLFLOW_TRACKING_URI"] == f"sqlite:///{repository}/mlflow.db"
    assert with_registry["SIM4SEG_REGISTRY_DIR"] == f"{repository}/registry"
    assert with_registry["SIM4SEG_SOURCE_ROOT"] == f"{repository}/raw"
    assert "GIT_DIR" not in with_registry
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://team")
    monkeypatch.setenv("SIM4SEG_SOURCE_ROOT", "s3://bucket/x")
    assert environment(repository, tree)["MLFLOW_TRACKING_URI"] == "http://team"
    assert environment(repository, tree)["SIM4SEG_SOURCE_ROOT"] == "s3://bucket/x"
    without = environment(repository, tree, registry=False)
    assert without["MLFLOW_TRACKING_URI"] == f"sqlite:///{tree}/mlflow.db"
    assert str(repository / "registry") not in without.values()


def test_a_branch_is_taken_up_with_its_commits(repository, tmp_path):
    tree = add_worktree(repository, tmp_path / "tree", "main", branch="retrain/1")
    (tree / "params.yaml").write_text("changed: 1\n")
    run(tree, "git", "commit", "-qam", "work")
    (tree / "half.txt").write_text("not committed")
    (repository / ".git/worktrees/tree/index.lock").touch()  # left by a killed git
    assert add_worktree(repository, tree, "main", branch="retrain/1") == tree
    assert (tree / "half.txt").is_file() and git(tree, "status", "--porcelain") == "?? half.txt"
    shutil.rmtree(tree)
    add_worktree(repository, tree, "main", branch="retrain/1")
    assert git(tree, "log", "--format=%s").split() == ["work", "start"]
    assert git(repository, "branch", "--show-current") == "main"


def test_a_worktree_whose_making_was_killed(repository, tmp_path):
    tree = add_worktree(repository, tmp_path / "tree", "main", branch="retrain/1")
    (repository / ".git/worktrees/tree/locked").write_text("initializing")  # as git leaves it
    (tree / "params.yaml").unlink()
    add_worktree(repository, tree, "main", branch="retrain/1")
    assert (tree / "params.yaml").is_file() and git(tree, "status", "--porcelain") == ""
    (repository / ".git/worktrees/tree/locked").write_text("initializing")
    shutil.rmtree(tree)
    assert add_worktree(repository, tree, "main", branch="retrain/1").is_dir()


def test_a_project_that_is_a_folder_of_its_repository(repository, tmp_path):
    before = git(repository, "rev-parse", "HEAD")
    (repository / "ml").mkdir()
    for name in ("stages", "params.yaml"):
        (repository / name).rename(repository / "ml" / name)
    project = repository / "ml"
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (project / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    run(repository, "git", "add", "-A")
    run(repository, "git", "commit", "-qm", "one repository for all")
    tree = add_worktree(project, project / "work/tree", "HEAD")
    assert tree == project / "work/tree/ml" == project_in(project, project / "work/tree")
    assert add_worktree(project, project / "work/tree", "HEAD") == tree, "taken up"
    there = environment(project, tree)
    assert subprocess.check_output([sys.executable, "-c", SHOW], cwd=tree, env=there, text=True).strip() == "committed"
    assert there["SIM4SEG_SOURCE_ROOT"] == f"{project}/raw" and there["SIM4SEG_REGISTRY_DIR"] == f"{project}/registry"
    assert str(project / ".dvc/cache") in (tree / ".dvc/config.local").read_text()
    assert file_at(project, "HEAD", "stages/show.py") == b"WHERE = 'committed'\n"
    remove_worktree(project, project / "work/tree")
    assert not tree.parent.exists() and git(project, "worktree", "list").count("\n") == 0
    refused(lambda: add_worktree(project, tmp_path / "old", before), "was not in ml/", before[:12], "check out")


def refused(call, *words):
    with pytest.raises(GitError) as caught:
        call()
    assert all(word in str(caught.value) for word in (*words, "remedy")), str(caught.value)


def test_refusals(repository, tmp_path, monkeypatch):
    refused(lambda: add_worktree(repository, tmp_path / "t", "0" * 40), "no such commit", "fetch")
    refused(lambda: git(tmp_path, "status"), "not under git")
    refused(lambda: git(tmp_path / "none", "status"), "no such folder")
    refused(lambda: add_worktree(repository, tmp_path / "t", "main", branch="main"), "another worktree")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    refused(lambda: add_worktree(repository, tmp_path / "mine", "main"), "not a worktree")
    refused(lambda: remove_worktree(repository, tmp_path / "mine"), "not a worktree")
    assert (tmp_path / "mine/file").is_file()
    add_worktree(repository, tmp_path / "t", "main", branch="one")
    refused(
        lambda: add_worktree(repository, tmp_path / "t", "main", branch="two"), "another worktree", "refs/heads/one"
    )
    run(repository, "git", "checkout", "-q", "--orphan", "other")
    run(repository, "git", "commit", "-qm", "no common past")
    refused(lambda: add_worktree(repository, tmp_path / "u", "other", branch="one"), "does not start from")
    (repository / ".git/index.lock").touch()
    refused(lambda: git(repository, "commit", "--allow-empty", "-m", "x"), "lock is held", "index.lock")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(lambda: git(repository, "status"), "git is not installed")


def test_push_refused_and_no_key_in_the_message(repository, tmp_path):
    run(tmp_path, "git", "init", "-q", "--bare", "remote.git")
    hook = tmp_path / "remote.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho protected by policy\nexit 1\n")
    hook.chmod(0o755)
    refused(lambda: git(repository, "push", str(tmp_path / "remote.git"), "main"), "refused the push", "pre-receive")
    secret = "http://name:planted-secret@127.0.0.1:9/x.git"
    with pytest.raises(GitError, match="cannot be reached") as caught:
        git(repository, "push", secret, "main")
    assert "planted-secret" not in str(caught.value) and "127.0.0.1:9" in str(caught.value)


def test_dvc_in_a_worktree_shares_cache_and_remotes(repository, tmp_path):
    (repository / ".dvc").mkdir()
    (repository / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (repository / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (repository / ".dvc/config.local").write_text(
        "[core]\n    remote = near\n['remote \"near\"']\n    url = ../../store\n"
    )
    (repository / "dvc.yaml").write_text("stages: {one: {cmd: python one.py, deps: [one.py], outs: [out]}}\n")
    (repository / "one.py").write_text("import os; os.mkdir('out'); open('out/a', 'w').write('a'); print('made')")
    (repository / ".gitignore").write_text("/out\n")
    dvc = [sys.executable, "-m", "dvc"]
    assert "made" in run(repository, *dvc, "repro")
    (repository / "dvc.lock").unlink()
    run(repository, "git", "add", "-A")
    run(repository, "git", "commit", "-qm", "dvc")
    tree = add_worktree(repository, tmp_path / "deep/down/tree", "HEAD")
    there = environment(repository, tree)
    assert "made" not in run(tree, *dvc, "repro", **there), "the run cache is the main checkout's"
    assert (tree / "out/a").read_text() == "a"
    assert git(tree, "status", "--porcelain") == "?? dvc.lock"
    (tree / ".dvc/config.local").write_text("[co")  # half written by a killed run
    add_worktree(repository, tree, "HEAD")
    run(tree, *dvc, "push", "-q", **there)
    assert list((tmp_path / "store").rglob("*.dir")), "the remote's relative path is meant from the main checkout"
    assert not (tree / ".dvc/cache").exists()
