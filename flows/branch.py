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
from sim4seg.lineage.worktree import add_worktree, remove_worktree

COMMITTED = ("source.snapshot.json", "dvc.lock", "reports")
NETWORK = re.compile(r"resolve host|timed out|Connection (refused|reset|closed)|unable to access|Could not read from")
"""What git says when a remote cannot be reached, in distinction to one that refuses."""


@dataclass(frozen=True)
class Branch:
    """One retraining's place.

    Attributes:
        workspace: the main checkout.
        tree: the worktree.
        name: of the branch, ``retrain/<UTC time>-<digest of the snapshot>``.
        commit: of the workspace that it starts from.
    """

    workspace: Path
    tree: Path
    name: str
    commit: str


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


def _drop_outdated(workspace: Path, tree: Path, commit: str) -> None:
    """Remove what a run on an earlier commit left, but for training checkpoints: they know what they were made by."""
    work_aside = tree.with_name(f"{tree.name}.work")
    if (tree / "work").is_dir() and not work_aside.exists():
        (tree / "work").rename(work_aside)
    name = git(tree, "branch", "--show-current")
    started = git(workspace, "merge-base", name, commit) if name else ""
    empty = bool(name) and git(workspace, "rev-parse", name) == started
    remove_worktree(workspace, tree)
    if empty:
        git(workspace, "branch", "-D", name)


def _current(tree: Path, commit: str) -> str | None:
    """The branch that is in the worktree, if it starts from ``commit``."""
    try:
        name = git(tree, "branch", "--show-current")
        git(tree, "merge-base", "--is-ancestor", commit, "HEAD")
    except GitError:
        return None
    return name or None


def open_branch(workspace: Path, digest: str) -> Branch:
    """The branch and worktree for a snapshot; those of a run that was killed are taken up with all they hold.

    Args:
        workspace: the main checkout.
        digest: of the snapshot.

    Raises:
        GitError: not a git checkout, or git refused.
    """
    workspace = workspace.resolve()
    commit = git(workspace, "rev-parse", "HEAD")
    tree = workspace / FOLDER / digest[:12]
    name = _current(tree, commit) if tree.is_dir() else None
    if tree.is_dir() and name is None:
        _drop_outdated(workspace, tree, commit)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = name or f"retrain/{now}-{digest[:12]}"
    add_worktree(workspace, tree, commit, name)
    work_aside = tree.with_name(f"{tree.name}.work")
    if work_aside.is_dir() and not (tree / "work").exists():
        work_aside.rename(tree / "work")
    return Branch(workspace, tree, name, commit)


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
    remove_worktree(branch.workspace, branch.tree)
    shutil.rmtree(branch.tree.with_name(f"{branch.tree.name}.work"), ignore_errors=True)
