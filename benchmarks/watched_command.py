"""A command run to its end, looked at from outside while it works."""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def run_watched(
    command: list[str],
    folder: Path,
    log: Path,
    look: Callable[[int], None],
    every: float,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Seconds of a command, whose output goes to ``log``; ends this program if it failed.

    Args:
        command: what is run.
        folder: where it works.
        log: file for its output, made anew.
        look: called with its process id again and again until it has ended, in a thread of its own.
        every: seconds between two looks.
        environment: of the command; None = this program's.
    """
    begun, over = time.monotonic(), threading.Event()
    with open(log, "w", encoding="utf-8") as stream:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)

        def watch() -> None:
            while not over.wait(every):
                look(child.pid)

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = child.wait()
        over.set()
        watcher.join()
    if code:
        sys.exit(f"{shlex.join(command)} ended with {code}; see {log}")
    return time.monotonic() - begun
