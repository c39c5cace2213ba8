"""An isolated git worktree of the project, with the main checkout's DVC cache and, if wanted, its registry.

A worktree is of a whole repository. Where the project is a folder in one, it is the same folder in the worktree.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import yaml

from sim4seg.git import LOCAL, GitError, git
from sim4seg.lineage.dvc_project import share_dvc

INITIALIZING = "locked initializing"
"""How git marks a worktree that is being made, or whose making was killed."""


def _worktrees(repository: Path) -> dict[Path, list[str]]:
    """What git knows of each worktree: the lines of `git worktree list --porcelain` after its folder."""
    known: dict[Path, list[str]] = {}
    for block in git(repository, "worktree", "list", "--porcelain").split("\n\n"):
        first, *lines = block.strip().splitlines() or [""]
        if first.startswith("worktree "):
            known[Path(first.removeprefix("worktree "))] = lines
    return known


def project_in(repository: Path, folder: Path) -> Path:
    """Where the project lies in a worktree: in its folder, or in the same folder of it as in the main checkout.

    Args:
        repository: the project's folder, main checkout or worktree.
        folder: of the worktree, which need not be there yet.

    Raises:
        GitError: ``repository`` is not under git.
    """
    return folder / git(repository, "rev-parse", "--show-prefix")


def prune(repository: Path) -> None:
    """Forget worktrees whose folders are gone, those too whose making or removal was killed."""
    for folder, lines in _worktrees(repository).items():
        if not folder.exists() and INITIALIZING in lines:
            with suppress(GitError):
                git(repository, "worktree", "unlock", str(folder))
    git(repository, "worktree", "prune")


def remove_worktree(repository: Path, folder: Path) -> None:
    """Remove a worktree with all that is in it, committed or not; its branch stays. No error if it is not there.

    Args:
        repository: the project's folder, main checkout or worktree.
        folder: of the worktree, as it was given to :func:`add_worktree`.

    Raises:
        GitError: the folder is there, but is no worktree of this repository.
    """
    folder = folder.resolve()
    if folder.exists() and not _is_ours(repository, folder):
        raise GitError("not a worktree of this repository", where=str(folder), remedy="choose another folder")
    if folder in _worktrees(repository):
        with suppress(GitError):  # a half-made one cannot be removed this way
            git(repository, "worktree", "remove", "--force", "--force", str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    prune(repository)


def _is_ours(repository: Path, folder: Path) -> bool:
    """Whether the folder's `.git` file leads to this repository; true too for one that git has forgotten."""
    pointer = folder / ".git"
    if not any(folder.iterdir()):
        return True
    if not pointer.is_file():
        return False
    common = Path(git(repository, "rev-parse", "--git-common-dir"))
    there = Path(pointer.read_text(encoding="utf-8").partition("gitdir: ")[2].strip())
    return there.is_relative_to((repository / common).resolve() / "worktrees")


def _fits(repository: Path, folder: Path, lines: list[str], commit: str, branch: str | None) -> bool:
    """Whether the worktree is whole and is the one asked for."""
    if INITIALIZING in lines or not (folder / ".git").is_file():
        return False
    if branch is not None:
        return f"branch refs/heads/{branch}" in lines
    return "detached" in lines and git(folder, "rev-parse", "HEAD") == commit


def _drop_locks(folder: Path) -> None:
    """Remove what a killed git left in this worktree; no other process works in it."""
    own = Path(git(folder, "rev-parse", "--absolute-git-dir"))
    for name in ("index.lock", "HEAD.lock"):
        (own / name).unlink(missing_ok=True)


def _make(repository: Path, folder: Path, commit: str, branch: str | None) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if branch is None:
        git(repository, "worktree", "add", "--detach", str(folder), commit)
        return
    try:
        tip = git(repository, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    except GitError:
        git(repository, "worktree", "add", "-b", branch, str(folder), commit)
        return
    # A killed run left the branch, perhaps with commits of its own: they are kept.
    if git(repository, "rev-list", "--count", f"{tip}..{commit}") != "0":
        raise GitError(
            f"the branch {branch} exists and does not start from {commit[:12]}",
            where=str(repository),
            remedy="choose another branch name",
        )
    git(repository, "worktree", "add", str(folder), branch)


def add_worktree(repository: Path, folder: Path, commit: str, branch: str | None = None) -> Path:
    """A worktree of ``commit`` in ``folder``, taken up if a killed run left it there.

    DVC works in it, with the cache, run cache and remotes of ``repository``.

    The caller sees to it that only one process works in ``folder``.

    Args:
        repository: the project's folder, main checkout or worktree.
        folder: where the worktree is to be; the project is :func:`project_in` it.
        commit: any name of a commit.
        branch: a branch to make at ``commit``, or to take up with what has been committed on it; None = no branch.

    Returns:
        The project in the worktree, absolute.

    Raises:
        GitError: unknown commit, the branch is in use or starts elsewhere, something else is in the folder, or the
            project lay in another folder of the repository at that commit.
    """
    folder = folder.resolve()
    commit = git(repository, "rev-parse", "--verify", f"{commit}^{{commit}}")
    prune(repository)
    lines = _worktrees(repository).get(folder)
    if lines is not None and _fits(repository, folder, lines, commit, branch):
        _drop_locks(folder)
    else:
        if folder.exists():
            if lines is not None and INITIALIZING not in lines:
                raise GitError(
                    "another worktree is in this folder",
                    where=f"{folder}: {', '.join(lines)}",
                    remedy=f"`git worktree remove --force {folder}` if it is not needed, then run again",
                )
            remove_worktree(repository, folder)
        _make(repository, folder, commit, branch)
    project = project_in(repository, folder)
    if not project.is_dir():
        raise GitError(
            f"the project was not in {project.relative_to(folder)}/ of its repository at commit {commit[:12]}",
            where=str(project),
            remedy=f"clone the repository, check out {commit[:12]}, and work from the folder that it was in then",
        )
    share_dvc(repository.resolve(), project)
    return project


def _source_root(main: Path, tree: Path) -> dict[str, str]:
    """A local source's relative folder is meant from the main checkout, where the data lie."""
    given = os.environ.get("SIM4SEG_SOURCE_ROOT")
    if given:
        return {} if "://" in given else {"SIM4SEG_SOURCE_ROOT": str(main / given)}
    try:
        fetch = yaml.safe_load((tree / "params.yaml").read_text(encoding="utf-8"))["fetch"]
        local, root = fetch["source"] == "local", Path(fetch.get("root", "raw"))
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return {}  # the stage that reads params.yaml will say what is wrong with it
    return {"SIM4SEG_SOURCE_ROOT": str(main / root)} if local and not root.is_absolute() else {}


def environment(main: Path, tree: Path, *, registry: bool = True) -> dict[str, str]:
    """The environment for processes that work in ``tree``: its code, this interpreter, the main checkout's registry.

    Args:
        main: the main checkout.
        tree: the worktree; the processes' working folder.
        registry: True = what is registered there goes to the registry that the main checkout uses. False = that
            registry is out of reach: a stage that wrote to one would make its own in ``tree``.
    """
    main, tree = main.resolve(), tree.resolve()
    dropped = {*LOCAL, "PYTHONSAFEPATH", "DVC_ROOT", "DVC_STAGE"}
    made = {name: value for name, value in os.environ.items() if value and name not in dropped}
    paths = [p for p in made.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).resolve() not in (main, tree)]
    made["PYTHONPATH"] = os.pathsep.join([str(tree), *paths])
    made["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), made.get("PATH", os.defpath)])
    state = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{(main if registry else tree) / 'mlflow.db'}",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": ((main if registry else tree) / "mlartifacts").as_uri(),
        "SIM4SEG_REGISTRY_DIR": str((main if registry else tree) / "registry"),
    }
    made |= _source_root(main, tree)
    return {**state, **made} if registry else {**made, **state}
