"""The git branch and worktree of one retraining: made or taken up, committed, published, removed."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.workspace import FOLDER
from sim4seg.errors import Sim4SegError, Unreachable
from sim4seg.git import GitError, git
from sim4seg.lineage.worktree import add_worktree, project_in, remove_worktree

COMMITTED = ("source.snapshot.json", "dvc.lock", "reports")
NETWORK = re.compile(r"resolve host|timed out|Connection (refused|reset|closed)|unable to access|Could not read from")
"""What git says when a remote cannot be reached, in distinction to one that refuses."""


@dataclass(frozen=True)
class Branch:
    """One retraining's place.

    Attributes:
        workspace: the project in the main checkout.
        tree: the project in the worktree.
        name: of the branch, ``retrain/<UTC time>-<digest of the snapshot>``.
        commit: of the workspace that it starts from.
        worktree: the folder of the worktree; where the project is the whole repository, the same as ``tree``.
    """

    workspace: Path
    tree: Path
    name: str
    commit: str
    worktree: Path


def refuse_uncommitted_parameters(workspace: Path) -> None:
    """Retraining works on what is committed; parameters that are not would silently not count.

    Raises:
        Sim4SegError: params.yaml or dvc.yaml differ from the commit.
    """
    changed = git(workspace, "status", "--porcelain", "--", "params.yaml", "dvc.yaml")
    if changed:
        raise Sim4SegError(
            f"there are changes that are not committed: {', '.join(line[3:] for line in changed.splitlines())}",
            where=str(workspace.resolve()),
            remedy="commit them, so that the model's record is whole, or `git stash` them; then run again",
        )


def _work_aside(worktree: Path) -> Path:
    """Where checkpoints wait while a worktree is made anew."""
    return worktree.with_name(f"{worktree.name}.work")


def _drop_outdated(workspace: Path, worktree: Path, commit: str) -> None:
    """Remove what a run on an earlier commit left, but for training checkpoints: they know what they were made by."""
    work, work_aside = project_in(workspace, worktree) / "work", _work_aside(worktree)
    if work.is_dir() and not work_aside.exists():
        work.rename(work_aside)
    name = git(worktree, "branch", "--show-current")
    started = git(workspace, "merge-base", name, commit) if name else ""
    empty = bool(name) and git(workspace, "rev-parse", name) == started
    remove_worktree(workspace, worktree)
    if empty:
        git(workspace, "branch", "-D", name)


def _current(worktree: Path, commit: str) -> str | None:
    """The branch that is in the worktree, if it starts from ``commit``."""
    try:
        name = git(worktree, "branch", "--show-current")
        git(worktree, "merge-base", "--is-ancestor", commit, "HEAD")
    except GitError:
        return None
    return name or None


def open_branch(workspace: Path, digest: str) -> Branch:
    """The branch and worktree for a snapshot; those of a run that was killed are taken up with all they hold.

    Args:
        workspace: the project in the main checkout.
        digest: of the snapshot.

    Raises:
        GitError: not a git checkout, or git refused.
    """
    workspace = workspace.resolve()
    commit = git(workspace, "rev-parse", "HEAD")
    worktree = workspace / FOLDER / digest[:12]
    name = _current(worktree, commit) if worktree.is_dir() else None
    if worktree.is_dir() and name is None:
        _drop_outdated(workspace, worktree, commit)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = name or f"retrain/{now}-{digest[:12]}"
    tree = add_worktree(workspace, worktree, commit, name)
    work_aside = _work_aside(worktree)
    if work_aside.is_dir() and not (tree / "work").exists():
        work_aside.rename(tree / "work")
    return Branch(workspace, tree, name, commit, worktree)


def commit(branch: Branch, message: str) -> str:
    """Commit snapshot, dvc.lock and reports, if they changed.

    Returns:
        The branch's commit.
    """
    there = [name for name in COMMITTED if (branch.tree / name).exists()]
    git(branch.tree, "add", "--all", "--", *there)
    if git(branch.tree, "diff", "--cached", "--name-only"):
        git(branch.tree, *_identity(branch.tree), "commit", "--quiet", "--no-verify", "-m", message)
    return git(branch.tree, "rev-parse", "HEAD")


def _identity(tree: Path) -> tuple[str, ...]:
    """A name for the commit where git has none."""
    try:
        git(tree, "config", "user.email")
    except GitError:
        return ("-c", "user.name=sim4seg retraining", "-c", "user.email=sim4seg@localhost")
    return ()


def publish(branch: Branch, remote: str) -> None:
    """Push the branch.

    Raises:
        Unreachable: the remote is out of reach.
        GitError: it refused.
    """
    try:
        git(branch.tree, "push", "--quiet", remote, f"{branch.name}:{branch.name}")
    except GitError as error:
        if NETWORK.search(error.what):
            raise Unreachable(error.what, where=error.where, remedy=error.remedy) from error
        raise


def close_branch(branch: Branch) -> None:
    """Remove the worktree; the branch stays, it is the record."""
    remove_worktree(branch.workspace, branch.worktree)
    shutil.rmtree(_work_aside(branch.worktree), ignore_errors=True)
