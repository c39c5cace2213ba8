"""DVC in a folder: its settings, its cache, its commands."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim4seg.lineage.dvc_lock import LineageError
from sim4seg.lineage.dvc_recovery import mend_torn

if TYPE_CHECKING:
    from dvc.config import Config

TAIL = 12
"""Lines of a failed command that are kept for its message."""


def _config(project: Path) -> Config:
    """All settings that DVC itself would go by: the system's and the user's too."""
    from dvc.config import Config, ConfigError

    try:
        return Config(dvc_dir=str(project / ".dvc"))
    except ConfigError as error:
        raise LineageError(
            f"DVC's settings cannot be read: {error}",
            where=str(project / ".dvc"),
            remedy="mend config or config.local there; `dvc config --list` shows them",
        ) from error


def _settings(project: Path) -> dict[str, Any]:
    """The tracked and the local settings together; relative paths in them made absolute."""
    from dvc.config import merge

    config = _config(project)
    both: dict[str, Any] = config.load_one("repo")
    merge(both, config.load_one("local"))
    for remote in both["remote"].values():
        remote["url"] = str(remote.get("url", ""))
    both["cache"]["dir"] = str(both["cache"].get("dir") or (project / ".dvc/cache").resolve())
    return both


def cache_folder(project: Path) -> Path:
    """Where DVC keeps objects by their MD5."""
    return Path(_settings(project)["cache"]["dir"]) / "files" / "md5"


def default_remote(project: Path) -> str | None:
    """Name of the remote that `dvc pull` and `dvc push` use; None if there is none."""
    name = _config(project)["core"].get("remote")
    return str(name) if name else None


def share_dvc(main: Path, tree: Path) -> None:
    """Write `.dvc/config.local` of the worktree: the main checkout's cache (and run cache), remotes and settings.

    Nothing is done where the project is not under DVC. The file is not tracked; it may hold keys if the main one does.
    """
    if not (main / ".dvc").is_dir() or not (tree / ".dvc").is_dir():
        return
    from dvc.config import Config, merge

    file = tree / ".dvc" / "config.local"
    file.unlink(missing_ok=True)  # a killed run may have left half of it
    file.touch(mode=0o600)
    with Config(dvc_dir=str(tree / ".dvc")).edit("local") as own:
        own.clear()
        merge(own, _settings(main))  # whole paths mean the same in the worktree


def start_dvc(
    command: Sequence[str], project: Path, environment: Mapping[str, str], *, own_session: bool = False
) -> subprocess.Popen[str]:
    """Start DVC; what it and its stages say, errors too, comes as one text, line by line.

    Args:
        command: DVC with its arguments.
        project: where it works.
        environment: of DVC and of the stages' commands.
        own_session: True = it and its children can be ended as one group, and Ctrl-C does not reach them.
    """
    return subprocess.Popen(
        command,
        cwd=project,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        start_new_session=own_session,
    )


def run_dvc(project: Path, environment: Mapping[str, str], *arguments: str, show: Callable[[str], None]) -> None:
    """Run one DVC command, each line of its output passed to ``show`` as it comes.

    What a DVC that was killed left half written is mended first.

    Raises:
        LineageError: it failed; its last lines are in the message.
    """
    for done in mend_torn(project):
        show(done)
    command = [sys.executable, "-m", "dvc", *arguments]
    last: deque[str] = deque(maxlen=TAIL)
    with start_dvc(command, project, environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            last.append(line.rstrip())
            show(line.rstrip())
    if child.returncode:
        raise LineageError(
            "\n".join([f"`dvc {' '.join(arguments)}` failed:", *(f"    {line}" for line in last if line)]),
            where=str(project),
            remedy="mend what it says, then run the same command again: it goes on from here",
        )
