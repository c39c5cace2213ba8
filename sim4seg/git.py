"""The git command, with errors that say what to do."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from sim4seg.errors import Sim4SegError

LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")
"""Set where git runs a hook; they would lead every call to that repository, whatever folder it is made in."""

KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"index\.lock|cannot lock ref|\.lock': File exists",
        "git's lock is held",
        "wait for the other git process; if there is none, one was killed: remove the lock file named above",
    ),
    (
        r"unknown revision|bad revision|bad object|invalid reference|not a valid object name|ambiguous argument"
        r"|Not a valid (object|commit) name|not a commit|Needed a single revision",
        "there is no such commit or branch here",
        "fetch it (`git fetch --all --tags`); a shallow clone lacks old commits (`git fetch --unshallow`)",
    ),
    (
        r"already (checked out|used by worktree)|is already checked out",
        "the branch is checked out in another worktree",
        "see `git worktree list`; remove that worktree, or choose another branch",
    ),
    (
        r"not a git repository",
        "this folder is not under git",
        "run from the project's folder, a git clone; `git init` and a commit make one of a plain copy",
    ),
    (
        r"dubious ownership",
        "the repository belongs to another user, and git refuses it",
        "run as its owner, or add it to git's safe.directory",
    ),
    (
        r"tell me who you are|empty ident name|unable to auto-detect email",
        "git does not know who commits",
        "set git's user.name and user.email, or GIT_AUTHOR_NAME, GIT_AUTHOR_EMAIL and the same of GIT_COMMITTER",
    ),
    (
        r"\[rejected\]|\[remote rejected\]|failed to push some refs",
        "the remote refused the push",
        "see its reason above: pull first if the branch has moved on there, or get the right to push; "
        "nothing is lost, the commits are in this repository",
    ),
    (
        r"could not read Username|Authentication failed|Permission denied|Could not read from remote|"
        r"unable to access|does not appear to be a git repository|Could not resolve host",
        "the git remote cannot be reached",
        "check `git remote -v`, the network and the keys; then run the same command again",
    ),
    (r"No space left on device", "the disk is full", "free disk space, then run the same command again"),
)
"""What git says (in English, which it is told to speak), what that means here, and what to do about it."""


class GitError(Sim4SegError):
    """git is missing or refused."""


def _without_keys(text: str) -> str:
    """A remote's address may carry a name and a password; messages do not."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1***@", text)


def _explained(folder: Path, arguments: tuple[str, ...], output: str) -> GitError:
    every = [line for line in _without_keys(output).strip().splitlines() if not line.startswith("hint:")]
    lines = [line for line in every if re.match(r"fatal:|error:|remote:| !", line)] or every[-4:]
    where = f"{folder}: git {_without_keys(' '.join(arguments))}"
    for pattern, what, remedy in KNOWN:
        if re.search(pattern, output):
            return GitError("\n".join([what, *(f"    {line}" for line in lines)]), where=where, remedy=remedy)
    return GitError("\n".join(["git failed", *(f"    {line}" for line in lines)]), where=where, remedy="see above")


def run_git(folder: Path, *arguments: str, seconds: float = 600) -> bytes:
    """Run git in ``folder`` and give its standard output as it is.

    Raises:
        GitError: git is not installed, took longer than ``seconds``, or ended with an error.
    """
    environment = {name: value for name, value in os.environ.items() if name not in LOCAL}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    where = str(folder)
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=seconds, check=False
        )
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise GitError("there is no such folder", where=where, remedy="check the path") from error
        raise GitError("git is not installed", where="PATH", remedy="install git, 2.30 or later") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(
            f"git {arguments[0]} did not end in {seconds:g} s", where=where, remedy="check the disk and the network"
        ) from error
    if done.returncode:
        raise _explained(folder, arguments, done.stderr.decode(errors="replace"))
    return done.stdout


def git(folder: Path, *arguments: str, seconds: float = 600) -> str:
    """As :func:`run_git`, as text without the line break at its end."""
    return run_git(folder, *arguments, seconds=seconds).decode(errors="replace").rstrip("\n")


def has_commit(folder: Path, commit: str) -> bool:
    """Whether the repository holds that commit."""
    try:
        git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def file_at(folder: Path, commit: str, path: str) -> bytes | None:
    """A file's bytes as they were at ``commit``, ``path`` relative to ``folder``; None if it was not there."""
    try:
        return run_git(folder, "show", f"{commit}:./{path}")
    except GitError:
        return None


def checked_out(folder: Path) -> tuple[str, bool] | None:
    """The commit that is checked out, and whether tracked files in ``folder`` differ; None where git has no answer."""
    try:
        commit = git(folder, "rev-parse", "HEAD", seconds=60)
        return commit, bool(git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", seconds=60))
    except GitError:
        return None
