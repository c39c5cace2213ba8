"""Where Prefect keeps its state; imported before Prefect, which reads its settings once."""

from __future__ import annotations

import os
from pathlib import Path

from sim4seg.loopback import spare_loopback
from sim4seg.offline import silence

PATIENT = {
    # Each try waits twice as long as the one before: about eight minutes in all, a restart of the server.
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    # What the server says while its own database is away.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
}
"""How a run bears with a server that is away for a while; its work goes on meanwhile."""


def configure(*, server: bool) -> None:
    """Settings of this process and of those it starts; values the user has set win.

    Servers on this machine, Prefect's own among them, are asked for without the user's proxy.

    Args:
        server: True = report to the server that PREFECT_API_URL names, if it names one. False = to none, whatever
            the environment says: a demo tells nobody.
    """
    silence()
    spare_loopback()
    os.environ.setdefault("PREFECT_HOME", str(Path(".prefect").resolve()))
    if not server:
        os.environ["PREFECT_HOME"] = str(Path(".prefect").resolve())
        os.environ.pop("PREFECT_API_URL", None)
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if server else "WARNING")
