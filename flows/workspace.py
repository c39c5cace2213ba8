"""One retraining at a time in a workspace, and what became of the last one."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path

from sim4seg.locks import LockAttempt, try_lock

FOLDER = Path("work/retrain")


NAME = "SIM4SEG_WORKSPACE_NAME"
"""Environment variable; needed where workers come and go under other host names, as in Kubernetes."""


def workspace_tag(workspace: Path = Path()) -> str:
    """The tag of this workspace's runs among all that report to one Prefect server."""
    if os.environ.get(NAME):
        return f"workspace:{os.environ[NAME]}"
    text = f"{socket.gethostname()}:{workspace.resolve()}"
    return f"workspace:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def workspace_lock(name: str, run: str, workspace: Path = Path()) -> AbstractContextManager[LockAttempt]:
    """Try to have ``name`` in this workspace to the end of the block; given back by the kernel if the process dies.

    Args:
        name: of the work that only one may do, part of a file name.
        run: id of the flow run, for others to read.
    """
    return try_lock(workspace / FOLDER / f"{name}.lock", run)
