"""The stack's own random secrets: made once, kept in one file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from infra.identities import ADMIN, ROLES, secret_name, write_private
from infra.local.service import StackError

FILE = "secrets.env"
NAMES = (
    "POSTGRES_PASSWORD",
    "PREFECT_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "PREFECT_PASSWORD",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_PIPELINE_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    *(secret_name(one) for one in (ADMIN, *ROLES)),
)
"""The same names as in ``infra/.env.example``."""


def load_secrets(folder: Path) -> dict[str, str]:
    """The secrets of the stack in ``folder``; made at the first call.

    Raises:
        StackError: another user can read the file.
    """
    file = folder / FILE
    if file.exists():
        if file.stat().st_mode & 0o077 or file.stat().st_uid != os.getuid():
            raise StackError("others can read the secrets", where=str(file), remedy=f"chmod 600 {file}")
        lines = file.read_text(encoding="utf-8").splitlines()
        known = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    else:
        known = {}
    missing = [name for name in NAMES if name not in known]
    if missing:
        known.update({name: secrets.token_urlsafe(24) for name in missing})
        write_private(file, "".join(f"{name}={value}\n" for name, value in known.items()))
    return known
