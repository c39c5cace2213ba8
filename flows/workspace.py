"""One retraining at a time in a workspace, and what became of the last one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("work/retrain")


@dataclass(frozen=True)
class Hold:
    """The right to work in the workspace, or word of who has it.

    Attributes:
        mine: whether this process has it.
        other: flow run that has it now (``mine`` False), or that had it last and did not give it back (True): its
            process died. Empty = none.
    """

    mine: bool
    other: str


NAME = "SIM4SEG_WORKSPACE_NAME"
"""Environment variable; needed where workers come and go under other host names, as in Kubernetes."""


def workspace_tag(workspace: Path = Path()) -> str:
    """The tag of this workspace's runs among all that report to one Prefect server."""
    if os.environ.get(NAME):
        return f"workspace:{os.environ[NAME]}"
    text = f"{socket.gethostname()}:{workspace.resolve()}"
    return f"workspace:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@contextmanager
def hold(name: str, run: str, workspace: Path = Path()) -> Iterator[Hold]:
    """Try to have ``name`` in this workspace to the end of the block; given back by the kernel if the process dies.

    Args:
        name: what is wanted, part of a file name.
        run: id of the flow run, for others to read.
    """
    folder = workspace / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        stream.seek(0)
        other = stream.read().strip()
        if not mine:
            yield Hold(False, other)
            return
        _write(stream.fileno(), run)
        yield Hold(True, other)
        _write(stream.fileno(), "")


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
