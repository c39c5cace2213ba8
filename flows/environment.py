"""What must be set before Prefect is imported: no call home, and its state inside the workspace."""

from __future__ import annotations

import os
from pathlib import Path

from sim4seg.offline import silence


def prepare() -> None:
    """Set Prefect's environment unless the user has: embedded server, state in ``.prefect/``, quiet logs."""
    silence()
    if "PREFECT_API_URL" in os.environ:
        return  # a team server: its own state, its own settings
    os.environ.setdefault("PREFECT_HOME", str(Path(".prefect").resolve()))
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # Results are passed as paths; there is nothing for Prefect to cache or store.
    os.environ.setdefault("PREFECT_RESULTS_PERSIST_BY_DEFAULT", "false")
