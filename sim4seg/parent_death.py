"""End with the parent process, so that a killed flow or DVC leaves no stage running with no one waiting for it."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it ends, however it ends.

    Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere nothing happens. A kill is harmless: outputs are atomic.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
