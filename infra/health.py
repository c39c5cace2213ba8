"""Health checks of containers: ``python -m infra.health prefect|mlflow|s3|worker``; exit code 0 = it answers.

Real requests with a login, read from the same environment that the server or its client has.
"""

from __future__ import annotations

import os
import sys

from infra.identities import ADMIN, secret_name
from infra.local.object_store import probe as probe_store
from infra.local.servers import probe_mlflow, probe_prefect, probe_worker


def check(service: str) -> None:
    """One request to ``service``; raises if it does not answer as it should."""
    env = os.environ
    if service == "prefect":
        probe_prefect(env["PREFECT_API_URL"], env["PREFECT_API_AUTH_STRING"])
    elif service == "worker":
        probe_worker(env["PREFECT_API_URL"], env["PREFECT_API_AUTH_STRING"], env["SIM4SEG_POOL"])
    elif service == "mlflow":
        probe_mlflow("http://127.0.0.1:5000", f"admin:{env['MLFLOW_AUTH_ADMIN_PASSWORD']}")
    elif service == "s3":
        probe_store("http://127.0.0.1:8333", ADMIN, env[secret_name(ADMIN)])
    else:
        raise ValueError(f"no such service: {service}")


if __name__ == "__main__":
    try:
        check(sys.argv[1])
    except Exception as error:  # any reason is one line in `docker inspect`
        sys.exit(f"{sys.argv[1:]} does not answer: {error}")
